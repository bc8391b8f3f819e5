"""The page and what is in it: the text view, the pictures, the numbers; and nothing that could ask a network."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxrnn.analysis import figures
from jaxrnn.analysis.bias import Bias, Horizon
from jaxrnn.analysis.findings import Finding
from jaxrnn.analysis.flow import Decay
from jaxrnn.analysis.gates import saturation
from jaxrnn.analysis.health import health
from jaxrnn.analysis.report import Report, horizon_rows, make_ready, numbers, page, write
from jaxrnn.analysis.states import Quantity, States
from jaxrnn.analysis.text_view import lively_passage, view, view_json
from jaxrnn.analysis.units import Unit, choose_units

RNG = np.random.default_rng(0)
N = 400
TEXT = "if x < 3:  # </script> & 'é'\n" * 14


@pytest.fixture(scope="module")
def states():
    values = {Quantity(1, "h"): np.tanh(RNG.normal(size=(N, 6))), Quantity(1, "c"): 3 + RNG.normal(size=(N, 6))}
    values[Quantity(1, "f")] = 1 / (1 + np.exp(-3 * RNG.normal(size=(N, 6))))
    return States({quantity: seen.astype(np.float32) for quantity, seen in values.items()}, RNG.random(N))


def test_values_come_back_to_within_half_a_step(states):
    shown = view(states, TEXT[:N], [Unit(1, "f", 2)], start=50, length=120, room=12 * 120 + 120)
    assert {unit.name for unit in shown.units} == {"h", "c", "f"} and Unit(1, "f", 2) in shown.units
    assert shown.left_out == (Quantity(1, "f"),) and len(shown.units) == 13
    packed = view_json(shown)
    levels = np.frombuffer(base64.b64decode(packed["levels"]), np.uint8).reshape(13, 120)
    for row, unit in enumerate(shown.units):
        value = packed["centres"][row] + packed["scales"][row] * (levels[row].astype(float) - 127) / 127
        exact = states.values[Quantity(unit.layer, unit.name)][50:170, unit.number]
        assert np.abs(value - exact).max() <= 0.5001 * packed["scales"][row] / 127 + 1e-4  # centres have 4 decimals
    assert "".join(packed["pieces"]) == TEXT[50:170]


def test_a_unit_that_stands_still_is_neutral():
    still = States({Quantity(1, "c"): np.full((5, 1), 2.0), Quantity(1, "h"): np.zeros((5, 1))}, np.zeros(5))
    assert np.all(view(still, "abcde", [], 0, 5).levels == 127)


def test_where_nothing_was_found_and_room_is_short_there_are_units_all_the_same(states):
    shown = view(states, TEXT[:N], [], start=0, length=100, room=500)
    assert shown.units == tuple(Unit(1, "h", number) for number in range(5)) and Quantity(1, "h") in shown.left_out


def test_the_passage_is_where_labels_change():
    label = np.zeros(1000, bool)
    label[600:640:5] = True
    assert lively_passage({"a": label, "b": np.arange(1000.0)}, 50, np.arange(0, 1000, 10)) in range(560, 640)
    assert lively_passage({}, 50, np.array([7])) == 7


@pytest.fixture(scope="module")
def report(states):
    labels = {"inside": np.arange(N) % 7 < 3, "depth": np.arange(N) % 5 / 3}
    chosen = choose_units(states.values, labels, top=3)
    findings = [
        Finding(name, measure, 0.5, tuple(one._replace(held_out=0.6) for one in chosen[name]), 0.7, 0.5, 0.5)
        for name, measure in (("inside", "AUC"), ("depth", "correlation"))
    ]
    shown = view(states, TEXT[:N], [one.unit for found in findings for one in found.units], 200, 150)
    update = {"kind": "update", "gradient_norm": 1.0, "update_norm": 0.1, "parameter_norm": 50.0, "bits": 2.0}
    rows = [update | {"step": step, "clipped": step < 3, "skipped": False} for step in range(1, 11)]
    rows += [rows[-1] | {"step": 11, "bits": None, "gradient_norm": None, "skipped": True}]
    decay = Decay(*(np.linspace(0, -9, 20)[:, None] * np.ones(2) for _ in range(3)), np.ones((20, 2)))
    grid = tuple(Horizon(k, 1 / k, 1 - 1 / k**2, 1.0, np.inf, 1000 * k, 1e-5) for k in (4, 8))
    bias = Bias(grid, Horizon(64, 0.0, 1.0, np.nan, 0.0, None, 1e-5), 64, 4)
    measured = health(rows)
    pictures = {
        "run": [figures.learning_curve(rows, "character")],
        "units": [figures.unit_through_run("h 3", "inside", "AUC", 5, [0, 5, 10], [0.5, 0.7, 0.9], [0.6, 0.8, 0.95])],
        "flow": [figures.gradient_flow({"trained": decay, "untrained": decay}), figures.horizon_bias(bias)],
        "gates": figures.gate_scatters(saturation(states.values)),
        "health": [figures.step_sizes(measured), figures.long_text(np.ones((9, 2)), 100)],
    }
    return Report(
        title="<tiny>",
        lead="Lead.",
        facts=[("model", "lstm & more")],
        sample="</pre><script>alert(1)</script>",
        findings=findings,
        untrained=findings,
        about_units="About.",
        view=shown,
        labels={name: values[200:350] for name, values in labels.items()},
        about_view="About.",
        widths={"1/h": 6, "1/c": 6, "1/f": 6},
        pictures=pictures,
        bias=bias,
        answer="k = 8.",
        numbers={"carry": np.array([1.0, np.nan])},
        notes=["Nothing."],
        made_by="Made.",
    )


class Page(HTMLParser):
    """What a browser would be asked to do: the elements, the ids, whatever refers to elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        references = ("list", "for", "aria-labelledby", "aria-describedby", "aria-controls")
        self.links += [f"#{value}" for name, value in attrs if name in references]


def test_the_page_holds_everything_and_names_nothing_else(report):
    text = page(report)
    parsed = Page(text)
    assert {link.partition(":")[0] for link in parsed.links if not link.startswith("#")} == {"data"}
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|<iframe|<object", text)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert "&lt;tiny&gt;" in text and "alert(1)</script>" not in text
    assert parsed.tags.count("script") == 2 and parsed.tags.count("figure") == 7
    assert "caption" in parsed.tags and len(text) < 5_000_000


def test_the_data_of_the_page_are_those_of_the_report(report):
    data = data_of(report)
    assert "".join(data["view"]["pieces"]) == TEXT[200:350]
    inside, depth = data["labels"]
    assert inside["values"] == report.labels["inside"].tolist()
    assert all(type(value) is int for value in inside["values"])  # the script compares with 1
    assert depth["values"] == pytest.approx(report.labels["depth"], abs=5.1e-4) and max(depth["values"]) == 1.333
    rows = {tuple(unit) for unit in data["view"]["units"]}
    assert all(tuple(one["unit"]) in rows for finding in data["findings"] for one in finding["units"])


def data_of(report):
    """What the page's script works on."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page(report), re.DOTALL)
    return json.loads(data)


def test_only_layers_of_which_a_unit_is_here_can_be_chosen(report):
    """And a unit is still named with its layer."""
    deep = report._replace(widths=dict(report.widths) | {"2/h": 6, "3/h": 6})
    deep = deep._replace(view=report.view._replace(units=(*report.view.units[:-1], Unit(3, "h", 0))))
    assert (data_of(report)["layers"], data_of(report)["deep"]) == ([1], False)
    assert (data_of(deep)["layers"], data_of(deep)["deep"]) == ([1, 3], True)


def test_text_can_be_read_on_the_fullest_tint(report):
    """Of every colour that the passage has, in light and dark, by the contrast that WCAG wants of text."""
    css, script = re.search(r"<style>(.*?)</style>", page(report), re.DOTALL)[1], page(report).rpartition("<script>")[2]
    tints = [tuple(map(int, found)) for found in re.findall(r"`rgb\((\d+) (\d+) (\d+) / \$\{share\}\)`", script)]
    share = float(re.search(r"\(([\d.]+) \* size\)\.toFixed", script)[1])
    inks = {"ink", *re.findall(r"#passage[^{}]*\{[^{}]*?[ {;]color: var\(--([\w-]+)\)", css)}
    themes = re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    assert (len(themes), len(tints)) == (3, 2)  # light, and dark as the reader or the system asks for it
    for theme in themes:
        colours = {name: rgb(value) for name, value in re.findall(r"--([\w-]+): #(\w{6})", theme)}
        for tint in tints:
            below = [share * one + (1 - share) * paper for one, paper in zip(tint, colours["paper"], strict=True)]
            assert all(contrast(colours[ink], below) > 4.5 for ink in inks)


def rgb(value):
    return [int(value[at : at + 2], 16) for at in (0, 2, 4)]


def contrast(one, other):
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_numbers_are_written_beside_it_and_pictures_as_files(report, tmp_path):
    files = write(report, tmp_path / "analysis")
    assert files[0].name == "report.html" and all(path.is_file() for path in files)
    saved = json.loads((tmp_path / "analysis" / "analysis.json").read_text("utf-8"))
    assert saved == numbers(report) and saved["carry"] == [1.0, None]
    assert saved["units"][0]["untrained"]["probe"] == report.findings[0].probe
    assert saved["horizon"]["rows"][0]["bound"] is None and saved["horizon"]["rows"][-1]["horizon"] == 64
    drawn = sorted(path.name for path in files if path.suffix == ".svg")
    assert drawn == sorted(f"{one.name}.svg" for some in report.pictures.values() for one in some)
    svg = (tmp_path / "analysis" / "flow.svg").read_text("utf-8")
    assert svg.startswith("<?xml") and "var(" not in svg and "#0a0a0" not in svg and "lag: steps back" in svg


def test_pictures_of_an_earlier_report_do_not_stay(report, tmp_path):
    """What is not the report's own is not touched."""
    write(report, tmp_path)
    (tmp_path / "mine.svg").write_text("mine")
    less = report._replace(pictures=dict(report.pictures) | {"units": [], "gates": []})
    kept = {path.name for path in write(less, tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == kept | {"mine.svg"} and "flow.svg" in kept
    assert {one.name for some in report.pictures.values() for one in some} <= set(figures.FIGURES)


def test_pictures_where_there_was_no_report_are_not_its_own(report, tmp_path):
    (tmp_path / "unit.svg").write_text("mine")
    write(report._replace(pictures={name: [] for name in report.pictures}), tmp_path)
    assert (tmp_path / "unit.svg").read_text() == "mine"


def test_of_a_file_that_cannot_be_written_nothing_stays(report, tmp_path, monkeypatch):
    def full(*_):
        raise OSError

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError):
        write(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_tried_and_left_empty(tmp_path):
    make_ready(tmp_path / "some" / "report")
    assert list((tmp_path / "some" / "report").iterdir()) == []


def test_every_layer_of_every_model_has_a_curve_of_its_own_kind(monkeypatch):
    """Also beside a model that gives no credit at all."""
    monkeypatch.setattr(figures, "picture", lambda name, title, caption, draw: draw)
    falling = Decay(*[-np.arange(20.0)[:, None] * np.ones(6)] * 4)
    nothing = Decay(*[np.full((20, 6), np.nan)] * 4)
    drawn = Figure()
    figures.gradient_flow({"trained": falling, "untrained": nothing})(drawn)
    curves = [line for line in drawn.axes[0].lines if not line.get_label().startswith("_")]
    kinds = {(line.get_linestyle(), line.get_marker(), line.get_fillstyle()) for line in curves}
    assert len(kinds) == len(curves) == 12 and len({line.get_color() for line in curves}) == 2
    drawn.draw_without_rendering()


@pytest.mark.parametrize(
    ("falls", "alive", "said"),
    [
        (-1.0, np.ones(20), "at 1\u00a0% of its first value after 6 steps"),
        (-0.1, np.ones(20), "above 1\u00a0% at all lags"),
        (
            -1.0,
            np.linspace(1, 0.05, 20),
            "at 1\u00a0% of its first value after 6 steps, over the 75\u00a0% of losses that have any",
        ),
        (-0.1, np.linspace(1, 0.005, 20), "above 1\u00a0% at all lags, over the 0.5\u00a0% of losses that have any"),
        (-0.1, np.arange(20) < 7, "0 from lag 8 on"),
        (-1.0, np.arange(20) < 3, "0 from lag 4 on"),
    ],
)
def test_where_credit_falls_is_said_of_all_losses_also_of_those_that_have_none(falls, alive, said):
    mean_log = np.where(alive > 0, falls * np.arange(20), np.nan)[:, None]
    decay = Decay(mean_log, mean_log, mean_log, 1.0 * alive[:, None])
    assert figures.gradient_flow({"trained": decay}).caption.endswith(f" It is {said} (trained).")


@pytest.mark.parametrize("count", [1, 299, 300, 601, 899, 30_001])
def test_what_a_curve_ends_with_is_the_mean_of_as_many_as_elsewhere(count):
    """One update beyond full groups of neighbours is none of its own."""
    steps, values = figures._thinned(np.arange(count) + 0.0, np.arange(count) % 7.0)
    size = max(1, count // 300)
    assert values[-1] == pytest.approx((np.arange(count) % 7.0)[-size:].mean(), abs=1e-12) and len(steps) < 600
    assert steps[-1] == pytest.approx(count - 1 - (size - 1) / 2, abs=1e-12)


def test_shares_and_means_are_written_out(report):
    inside, depth = report.findings
    some = [inside._replace(mean=0.004), inside._replace(mean=0.997), depth._replace(mean=123.4)]
    text = page(report._replace(findings=some, untrained=some))
    assert all(f"<small>{words};" in text for words in ("0.4 % of the text", "99.7 % of the text", "mean 123"))
    far = report.bias.rows[0]._replace(relative_bias=1310.0, bound=250.0)
    assert {"1310", "250"} <= set(horizon_rows(report.bias._replace(rows=(far,)))[0].values())


def test_the_unit_is_the_best_of_the_snapshot_that_it_was_chosen_in(report):
    said = report.pictures["units"][0].caption
    assert said.startswith("In the best snapshot, after 5 updates, the best for \u201cinside\u201d: h 3.")
    assert "0.500 before training and 0.900 after 10 updates" in said


def test_the_page_is_the_same_every_time(report):
    assert page(report) == page(report)


def test_health_counts_what_was_clipped_and_skipped(report):
    caption = report.pictures["health"][0].caption
    assert "clipped in 18 %" in caption and "; 1 were skipped" in caption and "was 0.002 of" in caption
    assert health([]) is None
