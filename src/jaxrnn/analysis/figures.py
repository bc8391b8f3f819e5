"""The figures of the report: what each of them shows, and how it is drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxrnn.analysis.bias import Bias
from jaxrnn.analysis.flow import Decay
from jaxrnn.analysis.gates import GATES, Saturation
from jaxrnn.analysis.health import Health
from jaxrnn.analysis.numerals import percent, plain
from jaxrnn.analysis.pictures import DASHES, INK, MARKERS, QUIET, SERIES, Picture, picture
from jaxrnn.analysis.states import Quantity

FIGURES = ("curve", "unit", "flow", "horizon", *(f"gate_{gate}" for gate in GATES), "steps", "long_text")
"""The names of all figures that there may be."""

_POINTS = 300  # of a curve: more cannot be told apart


def learning_curve(rows: Sequence[Mapping[str, Any]], noun: str, penalized: bool = False) -> Picture | None:
    """Draw the loss over the updates.

    Args:
        rows: the metrics of the run.
        noun: what a symbol is.
        penalized: whether penalties are part of the loss in training.

    Returns:
        The picture; None where there is no update yet.
    """
    updates = [(row["step"], row["bits"]) for row in rows if row["kind"] == "update" and row["bits"] is not None]
    validations = [(row["step"], row["bits"]) for row in rows if row["kind"] == "validation" and row["bits"]]
    if not updates:
        return None
    training = "training, penalties included" if penalized else "training"
    steps, bits = _thinned(*(np.array(column, float) for column in zip(*updates, strict=True)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(steps, bits, color=SERIES[0], label=training)
        if validations:
            axes.plot(*zip(*validations, strict=True), color=SERIES[1], marker="o", ms=4, ls="--", label="validation")
        axes.set_xlabel("update")
        axes.set_ylabel(f"bits per {noun}")
        axes.set_ylim(0, 1.15 * max(float(np.percentile(bits, 90)), *(score for _, score in validations or [(0, 0.1)])))
        axes.legend()

    best = f"; the best validation is {min(score for _, score in validations):.3f}" if validations else ""
    caption = (
        f"{training.capitalize()}, in means of neighbouring updates, ends at {bits[-1]:.3f} bits per {noun}{best}."
    )
    return picture("curve", "Learning", caption, draw)


def unit_through_run(
    unit: str,
    label: str,
    measure: str,
    best: int,
    updates: Sequence[int],
    scores: Sequence[float],
    probes: Sequence[float],
) -> Picture:
    """Draw how well one unit tells a label as the run goes on.

    Args:
        unit: its name.
        label: what it tells.
        measure: "AUC" or "correlation".
        best: the updates before the snapshot in which the unit was chosen.
        updates: `[S]` of each snapshot, 0 the untrained network.
        scores: `[S]` of the unit.
        probes: `[S]` of a linear probe of the whole state.

    Returns:
        The picture.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (name, values) in enumerate({unit: scores, "whole state": probes}.items()):
            style = {"color": SERIES[number], "marker": MARKERS[number], "ls": DASHES[number], "ms": 4}
            axes.plot(updates, values, label=name, **style)
        nothing = 0.5 if measure == "AUC" else 0.0
        axes.axhline(nothing, color=QUIET, lw=0.8, ls=":")
        axes.text(updates[-1], nothing, "says nothing", color=QUIET, ha="right", va="bottom", fontsize=8)
        axes.set_ylim(top=1.02)
        axes.set_xlabel("update")
        axes.set_ylabel(measure)
        axes.legend()

    caption = (
        f"In the best snapshot, after {best:,} updates, the best for \u201c{label}\u201d: {unit}. Its {measure} is "
        f"{scores[0]:.3f} before training and {scores[-1]:.3f} after {updates[-1]:,} updates, on text on which it was "
        "not chosen. The whole state's reading is fitted anew in each snapshot."
    )
    return picture("unit", "A unit through the run", caption, draw)


def gradient_flow(decays: Mapping[str, Decay]) -> Picture:
    """Draw how the gradient's norm falls with the lag.

    Args:
        decays: for each model's name its decay `[W, L]`.

    Returns:
        The picture.
    """
    longest, layers = (max(decay.mean_log.shape[axis] for decay in decays.values()) for axis in (0, 1))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (name, decay) in enumerate(decays.items()):
            lags = np.arange(1, len(decay.mean_log) + 1)
            for layer in range(layers):
                middle, spread = (np.asarray(part)[:, layer] / math.log(10) for part in (decay.mean_log, decay.spread))
                label = f"{name}, layer {layer + 1}" if layers > 1 else name
                colour, dashes = SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]
                mark = _layer_mark(layer, layers, len(lags))
                axes.plot(lags, middle - middle[0], color=colour, ls=dashes, label=label, **mark)
                if layer == 0:
                    low, high = middle - spread - middle[0], middle + spread - middle[0]
                    axes.fill_between(lags, low, high, color=colour, alpha=0.15, lw=0)
        axes.axhline(-2, color=QUIET, lw=0.8, ls=":")
        axes.text(longest, -2, "1 %", color=QUIET, ha="right", va="bottom", fontsize=8)
        axes.set_xlim(1 - 0.05 * longest, 1.05 * longest)  # all lags, also those at which no credit is left
        axes.set_xlabel("lag: steps back from the loss")
        axes.set_ylabel("norm of the gradient,\nrelative to lag 1 (powers of 10)")
        axes.legend()

    said = [f"{_fall(decay)} ({name})" for name, decay in decays.items()]
    caption = (
        "The gradient of one loss with respect to the state k steps before it, in the geometric mean over losses; the "
        f"band is one standard deviation. {'In the lowest layer it' if layers > 1 else 'It'} is {'; '.join(said)}."
    )
    return picture("flow", "How credit flows back", caption, draw)


def horizon_bias(bias: Bias) -> Picture:
    """Draw what a horizon costs in truth.

    Args:
        bias: the measured bias of truncated gradients.

    Returns:
        The picture.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        horizons = [row.horizon for row in bias.rows]
        cosines, biases = [row.cosine for row in bias.rows], [row.relative_bias for row in bias.rows]
        curves = {"cosine with the exact gradient": cosines, "relative bias": biases}
        for number, (name, values) in enumerate(curves.items()):
            style = {"color": SERIES[number], "marker": MARKERS[number], "ls": DASHES[number], "ms": 4}
            axes.plot(horizons, values, label=name, **style)
        axes.set_xscale("log", base=2)
        axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
        axes.set_xlabel("horizon: steps that credit flows back (k)")
        axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))
        axes.legend()

    caption = (
        f"The gradient of the recurrent layers over {bias.steps:,} steps, with credit cut off after k of them: its "
        "cosine with the exact one, and its distance from it relative to the exact one's length."
    )
    return picture("horizon", "What a horizon costs", caption, draw)


def gate_scatters(shares: Mapping[Quantity, Saturation]) -> list[Picture]:
    """Draw how much of the time each gate is open or shut, one point a unit.

    Args:
        shares: for each gate of each layer.

    Returns:
        A picture for each kind of gate; none where there are no gates.
    """
    return [_gate_scatter(name, shares) for name in dict.fromkeys(quantity.name for quantity in shares)]


def _gate_scatter(name: str, shares: Mapping[Quantity, Saturation]) -> Picture:
    """One kind of gate, in all layers."""
    layers = {quantity.layer: share for quantity, share in shares.items() if quantity.name == name}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [1, 0], color=QUIET, lw=0.8)
        for layer, share in layers.items():
            number = (layer - 1) % len(SERIES)
            style = {"color": SERIES[number], "marker": MARKERS[number], "alpha": 0.5, "lw": 0}
            axes.scatter(share.open, share.shut, s=9, label=f"layer {layer}", **style)
        axes.set(aspect="equal", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("share of time above 0.9")
        axes.set_ylabel("share of time below 0.1")
        if len(layers) > 1:
            axes.legend()

    means = {layer: (percent(share.open.mean()), percent(share.shut.mean())) for layer, share in layers.items()}
    said = "; ".join(
        f"{f'layer {layer}: ' * (len(layers) > 1)}{above} % open, {below} % shut"
        for layer, (above, below) in means.items()
    )
    caption = f"One point a unit. On average over units and time, {said}."
    return picture(f"gate_{name}", GATES[name].capitalize(), caption, draw, size=(3.3, 3.0))


def step_sizes(measured: Health) -> Picture:
    """Draw gradients and steps relative to the parameters.

    Args:
        measured: the health of the training.

    Returns:
        The picture.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ratios = {"gradient, before clipping": measured.gradient_ratio, "step taken": measured.update_ratio}
        for number, (name, ratio) in enumerate(ratios.items()):
            steps, values = _thinned(measured.steps.astype(float), ratio)
            axes.plot(steps, values, color=SERIES[number], ls=DASHES[number], label=name)
        axes.set_yscale("log")
        axes.set_xlabel("update")
        axes.set_ylabel("length, relative to\nthat of the parameters")
        axes.legend()

    step = plain(np.nanmedian(measured.update_ratio))
    caption = (
        f"The gradient was clipped in {percent(measured.clipped)} % of the updates; {measured.skipped} were skipped "
        f"because something was not finite. In the median a step was {step} of the parameters' length."
    )
    return picture("steps", "Gradients and steps", caption, draw)


def long_text(norms: np.ndarray, every: int, separate_lines: bool = False) -> Picture:
    """Draw how large the carry is along a long text.

    Args:
        norms: `[looks, B]`.
        every: steps between two looks.
        separate_lines: whether the carry begins anew with each line.

    Returns:
        The picture.
    """
    steps = every * np.arange(1, len(norms) + 1)
    mean = norms.mean(axis=1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        thin_steps, thin = _thinned(steps.astype(float), mean)
        axes.fill_between(steps, norms.min(axis=1), norms.max(axis=1), color=SERIES[0], alpha=0.15, lw=0)
        axes.plot(thin_steps, thin, color=SERIES[0])
        axes.plot([], [], color=INK, lw=0, label=f"line: mean of {norms.shape[1]} rows; band: least to most")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step since the initial carry")
        axes.set_ylabel("root mean square of the carry")
        axes.legend(handlelength=0)

    half = len(mean) // 2
    first, last = mean[:half].mean() if half else mean[0], mean[half:].mean()
    over = (
        f"Over {steps[-1]:,} steps {'of lines, each from the initial carry' if separate_lines else 'without a restart'}"
    )
    change = f" ({last / first - 1:+.0%})" if first else ""
    caption = f"{over}, the carry's size is {first:.2f} in the first half and {last:.2f} in the second{change}."
    return picture("long_text", "The state over a long text", caption, draw)


def _layer_mark(layer: int, layers: int, lags: int) -> dict[str, Any]:
    """What tells a layer's curve from those of other layers: its marks, full ones first, then hollow ones."""
    if layers == 1:
        return {}
    turn, number = divmod(layer, len(MARKERS))
    every = max(1, lags // 8)
    fill = "none" if turn % 2 else "full"
    return {"marker": MARKERS[number], "ms": 4, "fillstyle": fill, "markevery": (layer * every // layers, every)}


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbours, so many that some hundred are left; what is not finite does not count.

    The last is one of as many neighbours as the others, for what it says is quoted; the first may be of more.
    """
    size = max(1, len(x) // _POINTS)
    cuts = range(size + len(x) % size, len(x), size)
    groups = zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    kept = [(steps, values[np.isfinite(values)]) for steps, values in groups]
    means = [(steps.mean(), values.mean()) for steps, values in kept if len(values)]
    return np.array([at for at, _ in means]), np.array([mean for _, mean in means])


def _fall(decay: Decay) -> str:
    """Where the mean log norm of the lowest layer has fallen to 1 %, or to nothing: the mean is over what is not 0."""
    log_norms, alive = (np.asarray(part)[:, 0] for part in (decay.mean_log, decay.alive))
    if not np.isfinite(log_norms[0]):
        return "0, or not finite, from the first lag on"
    below = np.flatnonzero((alive == 0) | (log_norms <= log_norms[0] + math.log(0.01)))
    lag = below[0] if len(below) else len(alive) - 1
    if alive[lag] == 0:
        return f"0 from lag {lag + 1} on"
    over = f", over the {percent(alive[lag])} % of losses that have any" if alive[lag] < 1 else ""
    return (f"at 1 % of its first value after {lag + 1} steps" if len(below) else "above 1 % at all lags") + over
