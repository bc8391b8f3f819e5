"""The pages hold: their Python runs, their commands and settings are understood, their links lead somewhere."""

import itertools
import json
import math
import re
import shlex
from code import InteractiveConsole
from pathlib import Path
from statistics import fmean, stdev

import jax
import pytest

import jaxrnn
from jaxrnn import analyze, evaluate, gradients, sample, train
from jaxrnn.analysis.labels import python_labels, text_labels
from jaxrnn.build import ESTIMATORS, NAMES, check_names
from jaxrnn.settings import KEYS, check_read, flatten, resolve

ROOT = Path(__file__).parents[1]
PAGES = {page.name: page for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]}
PARSERS = {"train": train._parser, "evaluate": evaluate._parser, "sample": sample._parser, "analyze": analyze._parser}
COMMAND = re.compile(
    r"^(?:[^#\n]*\| )?(?:python -m )?jaxrnn[ .](train|evaluate|sample|analyze)\b([^|#\n]*)", re.MULTILINE
)
PLACE = re.compile(r'\]\((?!https?://)([^)"#\s]*)#([^)"\s]+)\)')
LINK = re.compile(r'(?:\]\(|src(?:set)?=")(?!https?://|#)([^)"#]+)')


def blocks(name: str, language: str) -> list[str]:
    """The page's blocks in a language, each behind as many empty lines as stand before it: errors name its lines."""
    text = PAGES[name].read_text("utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]


def pages_with(language: str) -> list[str]:
    return sorted(name for name in PAGES if blocks(name, language))


def readings():
    """The blocks to run in a row: of a page, or of each section where the page opens with code that they share."""
    for name in pages_with("python"):
        page, lines = blocks(name, "python"), PAGES[name].read_text("utf-8").splitlines()
        heads = [number for number, line in enumerate(lines) if line.startswith("## ")]
        opening = [block for block in page if heads and first_line(block) < heads[0]]
        if name == "README.md":  # see test_examples.py
            continue
        if not opening:
            yield pytest.param(name, page, id=name)
            continue
        for start, end in itertools.pairwise([*heads, len(lines)]):
            section = [block for block in page if start < first_line(block) < end]
            yield pytest.param(name, opening + section, id=f"{name}: {lines[start].removeprefix('## ')}")


def first_line(block: str) -> int:
    """The number of empty lines before a block."""
    return len(block) - len(block.lstrip("\n"))


@pytest.mark.parametrize(("name", "code"), list(readings()))
def test_python_runs(name, code, tmp_path, monkeypatch):
    """Under JAX's default settings, as a reader would run it."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in code:
            exec(compile(block, str(PAGES[name]), "exec"), namespace)


def test_the_tutorial_can_be_pasted(monkeypatch):
    """Into Python as it waits for lines, as the page says: there a block ends with an empty line."""
    console, refused = InteractiveConsole(), []
    monkeypatch.setattr(console, "runcode", lambda code: None)
    monkeypatch.setattr(console, "showsyntaxerror", lambda *where, **how: refused.append(console.buffer))
    for code in blocks("tutorial.md", "python"):
        for line in [*code.splitlines(), ""]:
            console.push(line)
    assert not refused


@pytest.mark.parametrize("name", pages_with("sh"))
def test_commands_are_understood(name):
    """Every option is one that the command has, every value one that its key takes."""
    text = "\n".join(blocks(name, "sh"))
    found = COMMAND.findall(text)
    lines = [line.partition("#")[0] for line in text.splitlines()]
    assert len(found) == sum(bool(re.search(r"jaxrnn[ .](train|evaluate|sample|analyze)\b", line)) for line in lines)
    for command, words in found:
        asked = vars(PARSERS[command]().parse_args(shlex.split(words)))
        file = asked.get("file")
        file = ROOT / file if file and file.parts[0] == "configs" else None  # others are a reader's own
        config = resolve(file, {key: asked[key] for key in KEYS if asked.get(key) is not None})
        check_names(config)
        check_read(config)


@pytest.mark.parametrize("name", pages_with("toml"))
def test_settings_are_understood(name, tmp_path):
    for number, block in enumerate(blocks(name, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, "utf-8")
        config = resolve(file)
        check_names(config)
        check_read(config)


def test_the_table_of_estimators_is_whole():
    """Those of the README are there, and none that has a name on the command line is forgotten."""
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGES["README.md"].read_text("utf-8"), re.MULTILINE))
    named = {name if name in gradients.__all__ else f"{name}_bptt" for name in ESTIMATORS}
    assert named <= rows <= set(gradients.__all__)


def test_the_figures_of_the_readme_are_those_of_the_results():
    final = json.loads((ROOT / "benchmarks/results/default_run.json").read_text("utf-8"))["final"]
    readme = " ".join(PAGES["README.md"].read_text("utf-8").split())
    best = final["baselines"]["best_ngram"]
    score, seconds = final["bits_per_character"], final["seconds"]
    for figure in (f"{seconds:.0f} seconds", f"{score:.2f} bits per character", f"needs {best:.2f}"):
        assert figure in readme.replace("**", "")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_lead_somewhere(name):
    """A source file is looked for where the package was imported from: the tests also run without src/."""
    missing = []
    for link in LINK.findall(PAGES[name].read_text("utf-8")):
        path, source = (PAGES[name].parent / link).resolve(), ROOT / "src" / "jaxrnn"
        if path.is_relative_to(source):
            path = Path(jaxrnn.__path__[0]) / path.relative_to(source)
        if not path.exists():
            missing.append(link)
    assert not missing


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_to_a_heading_lead_to_one(name):
    missing = []
    for link, place in PLACE.findall(PAGES[name].read_text("utf-8")):
        page = PAGES[name].parent / link if link else PAGES[name]
        heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
        missing += [] if place in slugs else [f"{link}#{place}"]
    assert not missing


@pytest.mark.parametrize(
    "key", ["model.cell", "model.initializer", "gradient.rule", "optimizer.name", "optimizer.schedule"]
)
def test_the_page_on_commands_has_every_name(key):
    (row,) = (line for line in PAGES["commands.md"].read_text("utf-8").splitlines() if line.startswith(f"| `{key}` |"))
    assert set(NAMES[key]) <= set(re.findall(r"`(\w+)`", row.removeprefix(f"| `{key}` |")))


def test_what_the_cut_costs_in_the_readme_is_what_was_measured():
    result = json.loads((ROOT / "benchmarks/results/full_vs_truncated_learning.json").read_text("utf-8"))
    readme = " ".join(PAGES["README.md"].read_text("utf-8").split())
    rows = {row["rule"]: row for row in result["learning"] if (row["task"], row["delay"]) == ("copy", 102)}
    cut, exact, full = rows["truncated"], rows["checkpointed, budget"], rows["bptt"]
    assert cut["k"] == 50 and "cut after 50" in readme and "102 steps after" in readme and len(cut["final"]) == 3
    assert all(abs(loss - 1) < 0.005 for loss in cut["final"]) and "at 1.00 times the loss" in readme
    assert max(exact["final"]) < 0.005 and max(full["final"]) < 0.05
    in_segments, whole = ("{:.3f}, {:.3f} and {:.3f}".format(*row["final"]) for row in (exact, full))
    assert f"comes to {in_segments} times that loss" in readme and f"but for rounding, ended at {whole})" in readme
    exact_mib, cut_mib = (f"{row['temp_bytes'] / 2**20:.1f}" for row in (exact, cut))
    exact_ms, cut_ms = (f"{1e3 * row['seconds_per_update']:.1f}" for row in (exact, cut))
    price = (
        f"in {exact_mib} MiB of temporaries instead of {cut_mib} and in {exact_ms} ms a gradient instead of {cut_ms}"
    )
    assert price in readme


def test_what_the_cut_does_not_cost_in_the_readme_is_what_was_measured():
    """Long delays that are learnt all the same; and inside the horizon, who learns alike and who is quickest."""
    result = json.loads((ROOT / "benchmarks/results/full_vs_truncated_learning.json").read_text("utf-8"))
    rows = {(row["task"], row["delay"], row["rule"]): row for row in result["learning"] if row["hidden"] == 32}
    readme = " ".join(PAGES["README.md"].read_text("utf-8").split())
    assert "over 99 and 89 steps, are learned with the same cut, to a tenth of that loss or less" in readme
    adding, order = (rows[task, delay, "truncated"] for task, delay in (("adding", 99), ("order", 89)))
    assert adding["k"] == order["k"] == 50 and max(adding["final"] + order["final"]) < 0.1
    assert fmean(adding["final"]) > fmean(rows["adding", 99, "bptt"]["final"])
    inside = [row for row in rows.values() if row["inside"]]
    assert all(max(row["final"]) < 0.1 for row in inside if row["rule"] != "adaptive")
    for row in (row for row in inside if row["rule"] == "adaptive"):  # the same share of updates, of a quarter of them
        full = rows[row["task"], row["delay"], "bptt"]
        assert row["T"] <= row["k"] and row["updates"][23] == full["updates"][5]
        same = fmean(fmean(one[20:24]) for one in row["loss_over_floor"])
        assert abs(same - fmean(one[5] for one in full["loss_over_floor"])) < 0.1
    pace = [row for row in result["pace"] if row["T"] in {row["T"] for row in inside} and row["hidden"] == 32]
    for steps in {row["T"] for row in pace}:  # "as quick as any": some are the same program where nothing is cut
        seconds = {row["rule"]: row["seconds"] for row in pace if row["T"] == steps}
        assert seconds["bptt"] <= 1.1 * min(seconds.values()) and seconds["replaying"] > 1.5 * seconds["bptt"]


def test_how_far_to_trust_a_certificate_is_what_was_measured():
    text, copy, _ = json.loads((ROOT / "benchmarks/results/full_vs_truncated.json").read_text("utf-8"))["certificate"]
    page = " ".join(PAGES["tutorial.md"].read_text("utf-8").split())
    assert round(text["pairs"]["wrong"], 2) == 0.25 and "one certificate in four was exceeded" in page
    told = "by a factor of {:.0f} in the median and of {:.0f} at worst"
    assert told.format(text["pairs"]["median_ratio_where_wrong"], text["pairs"]["largest_ratio"]) in page
    assert copy["model"].startswith("copy") and copy["pairs"]["certified"] == 0
    bias = json.loads((ROOT / "benchmarks/results/horizon.json").read_text("utf-8"))["rows"]
    told = ", ".join(f"{100 * bias[k]['brute_force']:.0f} % at {k}" for k in ("128", "192", "256"))
    flow = " ".join(PAGES["gradient_flow.md"].read_text("utf-8").replace(" steps", "").split())
    assert told.replace(", 6", " and 6") in flow


def test_the_long_sequence_of_the_readme_is_the_one_measured():
    """And that of the tutorial, which repeats some of its figures."""
    result = json.loads((ROOT / "benchmarks/results/long_sequence.json").read_text("utf-8"))
    readme, tutorial = (" ".join(PAGES[name].read_text("utf-8").split()) for name in ("README.md", "tutorial.md"))
    *shorter, row = result["checkpointed"]
    *ratios, ratio = (row["seconds_per_step"] / row["plain_seconds_per_step"] for row in result["checkpointed"])
    assert len(shorter) == 4 and row["steps"] == 10_000_000
    for page in (readme, tutorial):
        assert f"steps takes a process of {row['peak_rss_bytes'] / 2**30:.2f} GiB" in page
        assert f"takes {ratio:.2f} times as long as one of full BPTT over {row['plain_steps']:,} steps" in page
        assert f"at four shorter lengths {min(ratios):.2f} to {max(ratios):.2f} times" in page
    assert "through ten million steps" in tutorial and f"through {row['steps']:,} steps" in readme
    assert f"keeps {row['temp_bytes'] / 2**20:.0f} MiB. A step takes" in readme
    assert result["forward_mode"]["jvp_steps"] == row["steps"]
    assert f"to {result['forward_mode']['jvp_relative_error']:.1e} in float64" in readme
    assert f"to {result['forward_mode']['jvp_relative_error_float32']:.1e} in float32" in readme
    torch, flax, bptt = (steps_that_fit(result["peers"], name, 16 * 2**30) / 1e6 for name in ("torch", "flax", "bptt"))
    assert f"at {torch:.1f} (PyTorch), {flax:.1f} (Flax) and {bptt:.1f} million steps (plain `bptt`)" in readme


def steps_that_fit(peers, name, limit):
    """By the last two rows of a peer, measured or forecast, between which the limit lies."""
    rows = [(peer["steps"], peer["peak_rss_bytes"]) for peer in peers if peer["name"] == name]
    (low, below), (high, above) = rows[-2:]
    assert below < limit < above
    return low + (high - low) * (limit - below) / (above - below)


def test_the_page_on_time_has_the_measured_figures():
    """A row for each row of the benchmark, and the ranges that the text tells."""
    found = json.loads((ROOT / "benchmarks/results/peers.json").read_text("utf-8"))
    page = " ".join(PAGES["where_the_time_goes.md"].read_text("utf-8").split())
    rows = {name: row for name, row in found.items() if name != "machine"}
    shares = [row["products"]["seconds"] / row["jaxrnn"]["seconds"] for row in rows.values()]
    for (name, row), share in zip(rows.items(), shares, strict=True):
        own, torch, best = (
            [f"{1e3 * min(of['seconds'] for of in some):.0f}" for some in zip(*map(both_passes, peers), strict=True)]
            for peers in ([row["jaxrnn"]], [row["torch"]], jax_peers(row))
        )
        bare, share = f"{1e3 * row['products']['seconds']:.0f}", f"{share:.0%}".replace("%", " %")
        compiled = f"{row['jaxrnn']['compile_seconds']:.1f}"
        assert f"| {' | '.join([f'`{name}`', *own, bare, share, *torch, *best, compiled])} |" in page
    assert f"are {min(shares):.0%} to {max(shares):.0%} of the step".replace("%", " %") in page
    ahead, level, behind = [], [], []
    for name, row in rows.items():
        others = [row["torch"], *jax_peers(row)]
        ratio = min(one["same_allocator"]["seconds"] for one in others) / row["jaxrnn"]["same_allocator"]["seconds"]
        (ahead if ratio > 1.12 else level if ratio > 0.89 else behind).append(f"`{name}`")
    first, second = (", ".join(names[:-1]) + f" and {names[-1]}" for names in (ahead, behind[::-1]))
    between = f", level with PyTorch on {' and '.join(level)}" if level else ""
    told = f"jaxrnn is ahead of all on {first}{between} and behind PyTorch on {second},"
    assert told in page
    gains = {
        peer: [row[peer]["seconds"] / row[peer]["same_allocator"]["seconds"] for row in rows.values()]
        for peer in ("linen", "torch")
    }
    theirs = [[one["compile_seconds"] for one in jax_peers(row)] for row in rows.values()]
    assert f"compile these steps in {min(map(min, theirs)):.1f} to {max(map(max, theirs)):.1f} seconds, each" in page
    own = [row["jaxrnn"]["compile_seconds"] for row in rows.values()]
    assert all(max(others) < seconds for others, seconds in zip(theirs, own, strict=True))  # "in every row"
    linen, torch = (f"{min(gain):.2f} to {max(gain):.2f} times" for gain in gains.values())
    assert f"Flax linen {linen} as fast, PyTorch {torch}" in page
    lean = {
        name: row["jaxrnn"]["temp_bytes"] / min(one["temp_bytes"] for one in jax_peers(row))
        for name, row in rows.items()
    }
    least, most = min(lean, key=lean.__getitem__), max(lean, key=lean.__getitem__)
    assert f"{lean[least]:.2f} times those of the leanest in `{least}`, {lean[most]:.2f} times in `{most}`" in page


def both_passes(measured):
    """As it comes, and with buffers kept."""
    return measured, measured["same_allocator"]


def jax_peers(row):
    """What was measured of the other libraries on JAX."""
    return [row[name] for name in ("linen", "nnx", "equinox", "haiku", "keras") if "seconds" in row[name]]


def test_what_precision_costs_is_what_was_measured():
    found = json.loads((ROOT / "benchmarks/results/precision.json").read_text("utf-8"))
    page = " ".join(PAGES["devices.md"].read_text("utf-8").split())
    fine, coarse = found["runs"]
    assert (fine["precision"], coarse["precision"]) == ("float32", "bfloat16") and fine["seed"] == coarse["seed"]
    valid, test = ([row["validation"][-1][1] for row in (fine, coarse)], [row["test"] for row in (fine, coarse)])
    assert f"After {found['updates']} updates of the default model" in page
    assert (
        "{:.3f} bits per character on the validation text with float32 and {:.3f} with bfloat16".format(*valid) in page
    )
    assert "{:.3f} and {:.3f} on the test text".format(*test) in page
    longer = {name: f"{of['float32'] / of['bfloat16']:.2f} times" for name, of in found["seconds"].items()}
    assert f"update took {longer['better_rnnlm'][:4]} times as long with float32 for `better_rnnlm`," in page
    for name in ("charlm", "rnnlm", "gru"):
        assert f"{longer[name]} for `{name}`" in page


def test_how_far_credit_reaches_in_the_readme_is_what_was_measured():
    """Its lags, their spread, and that the LSTM's is the longer one in every seed, by the ratio given."""
    readme = " ".join(PAGES["README.md"].read_text("utf-8").split())
    found = json.loads((ROOT / "benchmarks/results/gradient_flow.json").read_text("utf-8"))
    trained = [row for row in found["rows"] if row["updates"] == found["setting"]["updates"]]
    lags = {cell: [row["lag"] for row in trained if row["cell"] == cell] for cell in ("RNN", "LSTM", "GRU")}
    rnn, lstm, gru = (fmean(lag["mean"] for lag in lags[cell]) for cell in lags)
    assert f"within {rnn:.0f} steps in the RNN, {lstm:.0f} in the LSTM and at least {gru:.0f} in the GRU" in readme
    rnn, lstm, gru = (fmean(lag["spread"] for lag in lags[cell]) for cell in lags)
    assert f"{rnn:.0f}, {lstm:.0f} and {gru:.0f})" in readme
    assert any(lag["not_reached"] for lag in lags["GRU"]) and "where a few losses never got so low" in readme
    ratios = found["ratios_to_rnn"]["LSTM"]
    assert min(ratios) > 1
    assert f"longer than the RNN's in every seed, {min(ratios):.1f} to {max(ratios):.1f} times" in readme


def test_what_training_does_to_the_reach_of_credit_is_what_was_measured():
    """Whose lag grows, whose shrinks, and in how many seeds, on the page on gradient flow."""
    page = " ".join(PAGES["gradient_flow.md"].read_text("utf-8").split())
    found = json.loads((ROOT / "benchmarks/results/gradient_flow.json").read_text("utf-8"))
    updates, units = found["setting"]["updates"], found["setting"]["hidden"]
    assert f"{units} units, from three seeds, before and after {updates:,} updates" in page

    def lags(cell, updates):
        chosen = [row for row in found["rows"] if (row["cell"], row["updates"]) == (cell, updates)]
        return [row["lag"]["mean"] for row in sorted(chosen, key=lambda row: row["seed"])]

    start, end = ({cell: lags(cell, at) for cell in ("RNN", "LSTM", "GRU")} for at in (0, updates))
    first, last = ({cell: fmean(seeds) for cell, seeds in at.items()} for at in (start, end))
    assert min(first, key=first.get) == max(last, key=last.get) == "GRU"
    assert f"1 % at {first['GRU']:.0f} steps before training and at {last['GRU']:.0f} at least after it" in page
    assert f"the RNN goes from {first['RNN']:.0f} to {last['RNN']:.0f}" in page
    assert f"The LSTM's lag, {first['LSTM']:.0f} before, shrinks in two seeds of three, to 29 and 26" in page
    assert "and grows in the other, to 68." in page
    assert [after < before for before, after in zip(start["LSTM"], end["LSTM"], strict=True)] == [True, False, True]
    assert [f"{lag:.0f}" for lag in end["LSTM"]] == ["29", "68", "26"]


def test_the_labels_that_can_be_followed_are_named():
    page = " ".join(PAGES["commands.md"].read_text("utf-8").split())
    assert [name for name in (*python_labels(""), *text_labels("a")) if f'"{name}"' not in page] == []


def test_what_units_tell_in_the_readme_is_what_was_measured():
    """Each row of its table, the words about the first, and that training made it."""
    page = PAGES["README.md"].read_text("utf-8")
    readme = " ".join(page.split())
    found = json.loads((ROOT / "benchmarks/results/units.json").read_text("utf-8"))
    rows = {row["label"]: row for row in found["labels"]}
    scores = ("score", "whole_state", "untrained", "untrained_whole_state")
    told = dict(re.findall(r"^\| ((?:inside|bracket|indentation)[^|]*) \| ([^\n]*) \|$", page, re.MULTILINE))
    assert len(told) == 5
    for label, rest in told.items():
        layer, quantity, number = rows[label]["unit"]
        figures = [f"{rows[label][score]:.3f}" for score in scores]
        assert rest == " | ".join([f"{quantity} {number} of layer {layer}", *figures])
    string, trained = rows["inside a string literal"], found["trained"]
    assert string["unit"] == found["followed"]["unit"]
    assert f"{trained['bits_per_character']:.2f} bits per character in {trained['seconds'] / 60:.0f} minutes" in readme
    assert f"One of its {sum(found['text']['units'].values()):,} states, gates and candidates" in readme
    assert (
        f"ROC curve of {string['score']:.2f}, a linear probe of the whole state with {string['whole_state']:.3f}"
        in readme
    )
    assert f"the best are {string['untrained']:.2f} and {string['untrained_whole_state']:.2f}" in readme
    assert string["score"] >= 0.9 and string["whole_state"] >= 0.97


def test_what_a_unit_tells_of_novels_is_what_was_measured():
    readme = " ".join(PAGES["README.md"].read_text("utf-8").split())
    found = json.loads((ROOT / "benchmarks/results/units_quotes.json").read_text("utf-8"))
    quotes = next(row for row in found["labels"] if row["label"] == "inside quotes")
    assert quotes["unit"] == found["followed"]["unit"] and quotes["score"] > 0.9 > quotes["untrained"]
    assert f"one of its {sum(found['text']['units'].values()):,} states, gates and candidates" in readme
    assert f"what stands between quotes with an area of {quotes['score']:.3f}" in readme
    assert f"before training the best is at {quotes['untrained']:.2f}" in readme
    updates, scores = found["followed"]["updates"], found["followed"]["scores"]
    before, after = (scores[updates.index(number)] for number in (800, 1200))
    assert before < 0.6 and after > 0.95 and "between its 800th and its 1,200th update, of 3,344" in readme


def test_what_vowels_tell_is_what_was_measured():
    page = " ".join(PAGES["own_data.md"].read_text("utf-8").split())
    found = json.loads((ROOT / "benchmarks/results/vowels.json").read_text("utf-8"))
    assert len(found["seeds"]) == 3
    elman, gru, lstm = (f"{100 * found['mean'][name]:.1f} %" for name in ("Elman", "GRU", "LSTM"))
    assert f"who is speaking in {gru} of 370 others" in page and f"an Elman network {elman}, an LSTM {lstm}" in page


def test_what_is_said_of_kills_is_what_was_measured():
    page = " ".join(PAGES["snapshots.md"].read_text("utf-8").split())
    found = json.loads((ROOT / "benchmarks/results/kills.json").read_text("utf-8"))
    assert f"resumes it: {found['kills']} times, {found['kills_during_updates']} of them after" in page
    assert found["snapshots_lost"] == 0 and found["same_parameters_and_state"] and found["same_metrics"]


def test_the_page_on_devices_has_the_measured_figures():
    found = json.loads((ROOT / "benchmarks/results/scaling.json").read_text("utf-8"))
    page = PAGES["devices.md"].read_text("utf-8")
    for name in ("seqmnist", "charlm"):
        times = [f"{1e3 * way['seconds']:.0f}" for way in found[name].values()]
        difference = max(way["difference"] for way in found[name].values())
        assert difference < 1e-12
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert row.endswith(f"| {' | '.join(times)} | {difference:.1e} |")
    assert found["seqmnist"]["2 devices"]["seconds"] < found["seqmnist"]["1 device"]["seconds"]
    assert found["charlm"]["2 devices"]["seconds"] > found["charlm"]["1 device"]["seconds"]


def test_the_start_is_as_quick_as_is_said():
    found = json.loads((ROOT / "benchmarks/results/start.json").read_text("utf-8"))
    cold, warm = (found[f"{name}, median"] for name in ("cold", "warm"))
    page = " ".join(PAGES["where_the_time_goes.md"].read_text("utf-8").split())
    assert f"it took {cold:.1f} seconds with empty caches, and {warm:.1f} with what that start had left" in page
    assert cold <= 10 and warm <= 6


def test_the_page_on_language_models_has_the_measured_figures():
    page = PAGES["language_models.md"].read_text("utf-8")
    results = ROOT / "benchmarks/results"
    rows = {
        "10 streams, nothing dropped": "plain",
        "10 streams, 200 steps at a time instead of 35": "200 steps",
        "10 streams, full chunks only: the book's protocol": "full chunks only",
        "20 streams": "20 streams",
        "1 stream": "1 stream",
    }
    recipes = [
        json.loads((results / f"recipe_{name}.json").read_text("utf-8"))
        for name in ("ptb_rnnlm", "ptb_fast", "ptb_better")
    ]
    for said, protocol in rows.items():
        scores = [f"{one['mean'][f'perplexity, {protocol}']:.3f}" for one in recipes]
        assert f"| {said} | {' | '.join(scores)} |" in page
    tries = {one["name"]: one for one in json.loads((results / "tries_ptb_fast.json").read_text("utf-8"))["tries"]}
    small, large = ([tries[name] for name in names] for names in (SMALL_TRIES, LARGE_TRIES))
    assert set(tries) == {one["name"] for one in (*small, *large)} | set(SAMPLED_TRIES)
    beside, instead, everything = (f"{tries[name]['test']:.1f}" for name in (*SAMPLED_TRIES, "rate_30"))
    told = (
        f"perplexity of {beside} the one way and {instead} the other, which chance may do. From all words, in "
        "float32 and begun anew in every epoch, they come to"
    )
    assert f"{told} {everything}." in " ".join(page.split())
    lines = page.splitlines()
    for row, one in enumerate(small, lines.index("| rate 20, the example's | 193.4 | 143.3 | 122.6 | 117.8 |")):
        figures = [f"{perplexity:.1f}" for _, perplexity in one["perplexity"]]
        assert [cell.strip() for cell in lines[row].split("|")[2:-1]] == figures + [""] * (4 - len(figures))
        assert [round(epoch) for epoch, _ in one["perplexity"]] == [1, 2, 3, 4][: len(figures)]
    smaller = dict(tries["small_coupled"]["perplexity"])[14.0], dict(tries["14_epochs"]["perplexity"])[9.0]
    said = "11.5 it is at {:.1f} after 14 epochs, the larger one at a rate of 11.7 at {:.1f} after 9."
    assert said.format(*smaller) in " ".join(page.split())
    for one in large:
        assert sum(f"| {one['perplexity'][-1][1]:.1f} | {one['test']:.1f} |" in line for line in lines) == 1


def test_the_page_on_language_models_has_what_a_vocabulary_costs():
    page = PAGES["language_models.md"].read_text("utf-8")
    found = json.loads((ROOT / "benchmarks/results/vocabulary.json").read_text("utf-8"))
    assert f"a sample of {found['sample']:,} |" in page and f"in blocks of {found['block']:,} |" in page
    for one in found["found"]:
        ways = [
            f"{1e3 * one['seconds'][way]:.0f} ms, {one['temp_bytes'][way] / 2**20:.0f} MiB"
            for way in ("all", "block", "sample")
        ]
        assert f"| {one['vocabulary']:,} | {' | '.join(ways)} |" in page


def test_the_page_on_language_models_has_the_seeds_of_the_plain_model():
    page = " ".join(PAGES["language_models.md"].read_text("utf-8").split())
    tries = json.loads((ROOT / "benchmarks/results/tries_ptb_rnnlm.json").read_text("utf-8"))["tries"]
    scores = {one["name"]: one["test"] for one in tries}
    anew, circle = ([scores[f"{kind}_{seed}"] for seed in range(1, 6)] for kind in ("anew", "circle"))
    assert len(scores) == 10
    for name, kind in (("begun anew", anew), ("a circle: the recipe", circle)):
        assert f"| {name} | {' | '.join(f'{score:.1f}' for score in (*kind, fmean(kind)))} |" in page
    assert f"over seeds is {stdev(anew):.1f} and {stdev(circle):.1f}," in page
    assert f"a difference of {fmean(anew) - fmean(circle):.1f} between the means" in page
    assert fmean(anew) - fmean(circle) < 2 * ((stdev(anew) ** 2 + stdev(circle) ** 2) / 5) ** 0.5
    mean, last = (
        json.loads((ROOT / f"benchmarks/results/recipe_{name}.json").read_text("utf-8"))["mean"]["perplexity, plain"]
        for name in ("ptb_averaged", "ptb_rnnlm")
    )
    assert f"seeds 1 to 3 come to {mean:.1f} instead of {last:.1f}" in page


def test_the_page_on_language_models_has_the_curves_of_the_better_model():
    page = " ".join(PAGES["language_models.md"].read_text("utf-8").split())
    tries = json.loads((ROOT / "benchmarks/results/tries_ptb_better.json").read_text("utf-8"))["tries"]
    recipe, example, restart = tries
    assert recipe["differs"] == {} and [one["name"] for one in tries] == ["ptb_better", "plateaus", "warm_restart"]
    epochs = (5, 10, 15, 17, 20, 25, 30, 35, 40)
    assert f"| epoch | {' | '.join(map(str, epochs))} |" in page
    for name, one in (("recipe", recipe), ("example", example)):
        for text, key in (("validation", "perplexity"), ("training", "training_perplexity")):
            figures = [f"{one[key][epoch - 1][1]:.1f}" for epoch in epochs if epoch <= len(one[key])]
            assert f"| {name}, {text} | {' | '.join(figures)} |" in page
    assert f"is then at {example['test']:.1f}, the recipe's at {recipe['test']:.1f} (nothing dropped)" in page
    ends = [f"{one[key][-1][1]:.1f}" for one in (example, recipe) for key in ("training_perplexity", "perplexity")]
    said = "is at {} on its training text, with dropout, and at {} on the validation text; the recipe, with more noise,"
    assert f"{said} at {{}} and {{}}.".format(*ends) in page
    assert restart["updates_before"] == 21 * 1328 and len(restart["perplexity"]) == 13
    assert f"at {restart['perplexity'][-1][1]:.1f} with a rate of 5.6" in page
    learnt = restart["training_perplexity"][-1][1], example["training_perplexity"][17][1]
    assert "was then at {:.1f}, that of the plateaus at {:.1f}:".format(*learnt) in page
    lines = (ROOT / "benchmarks/results/recipe_ptb_better.jsonl").read_text("utf-8").splitlines()
    assert [math.exp(json.loads(line)["loss"]) for line in lines] == [one for _, one in recipe["perplexity"]]


LARGE_TRIES = ("more_masks", "no_masks", "14_epochs", "small_coupled", "target_drawn", "ptb_fast", "19_epochs")
SAMPLED_TRIES = ("sample_beside", "sample_instead")
SMALL_TRIES = ("rate_20", "rate_30", "rate_45", "wider_embedding", "10_rows", "adam")


def test_the_recipes_of_the_readme_score_what_was_measured():
    """Each row has its file, the scores by the protocol that is named, and the time."""
    readme = PAGES["README.md"].read_text("utf-8")
    paths = list((ROOT / "benchmarks/results").glob("recipe_*.json"))
    assert paths
    for path in paths:
        found = json.loads(path.read_text("utf-8"))
        row = next(line for line in readme.splitlines() if line.startswith(f"| [`{found['recipe']}`]"))
        recipe = json.loads(json.dumps(flatten(resolve(ROOT / f"configs/{found['recipe']}.toml"))))
        for one in (one for one in found["seeds"] if "settings" in one):  # those that were measured lately
            assert one["settings"] == recipe | {"seed": one["seed"]}
        if "perplexity" in row:
            scores = [one["scores"]["full chunks only"]["perplexity"] for one in found["seeds"]]
            said = f"perplexity {', '.join(f'{score:.1f}' for score in scores)}"
            said += f", mean {fmean(scores):.1f}" if len(scores) > 1 else ""
        else:
            scores = [one["scores"]["plain"]["bits_per_character"] for one in found["seeds"]]
            said = f"{fmean(scores):.2f} bits per character"
        assert f"| {said} | {found['mean']['seconds'] / 60:.0f} minutes |" in row
        for scores in (one["scores"] for one in found["seeds"] if {"cache", "dynamic"} & set(one["scores"])):
            ways = ("plain", "cache", "dynamic")
            helped = [f"{scores[way]['perplexity']:.1f}" if way in scores else "not run" for way in ways]
            assert f"| `{found['recipe']}` | {' | '.join(helped)} |" in PAGES["language_models.md"].read_text("utf-8")
        if "best n-gram" in row:
            assert f"| best n-gram here {found['seeds'][0]['trained']['baselines']['best_ngram']:.2f};" in row
        if "where this has" in row:
            best = min(bits for _, bits in found["seeds"][0]["validation"])
            assert f"where this has {best:.2f} on validation |" in row
