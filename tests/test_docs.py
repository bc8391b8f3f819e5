"""Every block of Python in the documentation runs, page by page, under JAX's default settings."""

import re
from pathlib import Path

import jax
import pytest

import jaxrnn

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def blocks(page: Path) -> list[str]:
    """The page's blocks of Python, each behind as many empty lines as stand before it: errors name the page's line."""
    text = page.read_text("utf-8")
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks(page):
            exec(compile(block, str(page), "exec"), namespace)


def target(page: Path, link: str) -> Path:
    """The file that a link means; a source file is looked for where the package was imported from."""
    path = (page.parent / link).resolve()
    source = ROOT / "src" / "jaxrnn"
    return Path(jaxrnn.__path__[0]) / path.relative_to(source) if path.is_relative_to(source) else path


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not target(page, link).exists()]
    assert not missing, f"{page.name}: no such file: {missing}"
