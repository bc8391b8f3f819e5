# The toolbox: `make help` lists it. Each target first makes the environment it needs, and again only when
# pyproject.toml has changed. ARGS goes to the command: make train ARGS='--training.length "1 minute"'.

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

python = $(VENV)/bin/python

.PHONY: help train test test-peers test-browser lint format bench bench-peers clean
.DELETE_ON_ERROR:

help: ## list the targets
	@echo 'usage: make TARGET [PYTHON=python3.11] [VENV=.venv] [ARGS="..."]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# Large pages for large buffers: on Linux, fewer page faults in every training step.
train: $(VENV)/.has-base ## train a character model on the source text of Python's standard library
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(python) -m jaxrnn.train $(ARGS)

test: $(VENV)/.has-test ## run the tests; JAXRNN_DATA=FOLDER for those that want real data sets
	$(python) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

test-peers: $(VENV)/.has-test $(VENV)/.has-peers ## run the comparisons with PyTorch and Flax (a big download)
	$(python) -m pytest tests/peers $(ARGS)

test-browser: $(VENV)/.has-test $(VENV)/.has-browser ## drive the report in Chromium (Debian: apt-get install chromium chromium-driver)
	JAXRNN_SCREENSHOTS=$${JAXRNN_SCREENSHOTS:-build/screenshots} $(python) -m pytest tests/browser $(ARGS)

lint: $(VENV)/.has-dev ## check style, format and types
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m pyright --pythonpath $(python)

format: $(VENV)/.has-dev ## mend style and format as far as that is mechanical
	$(python) -m ruff check --fix
	$(python) -m ruff format

bench: $(VENV)/.has-bench ## measure; results and pictures go to benchmarks/results
	for name in default_run full_vs_truncated gradient_flow precision scaling start vocabulary; do \
		$(python) -m benchmarks.$$name $(ARGS) || exit; done

bench-peers: $(VENV)/.has-peers ## measure beside PyTorch and five JAX libraries (a big download, and long)
	for name in peers long_sequence; do $(python) -m benchmarks.$$name $(ARGS) || exit; done

clean: ## remove what make has made: the environment, build products, caches; never runs/
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment has its base, or the base and one of the extras of pyproject.toml.
$(VENV)/.has-%: pyproject.toml | $(python)
	$(python) -m pip install --quiet --disable-pip-version-check --editable '.$(if $(filter base,$*),,[$*])'
	@touch $@

# Where Python comes without ensurepip (Debian's bare python3), its pip fills the environment from outside.
$(python):
	@test -n "$(PYTHON)" || { echo 'jaxrnn needs Python 3.11 or newer; none found: make PYTHON=/path/to/python3' >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || \
		{ $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV) install --quiet pip; }
