"""Draw the figures of the tutorial, from what the library computes.

python docs/tutorial_figures.py          # writes scalar_flow.svg, lags.svg and cell_flow.svg to docs/images
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jaxrnn.analysis.flow import lag_norms, summarize
from jaxrnn.analysis.scalar import scalar_flow
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.gradients import Chunk, GradientEstimator, accumulate, bptt, geometric, randomized_bptt, truncated_bptt
from jaxrnn.initializers import identity, zeros
from jaxrnn.losses import squared_error

IMAGES = Path(__file__).parent / "images"
STEPS, ROWS, SIZE = 200, 8, 32
SPAN = 16  # the steps whose credit is shown one by one
MARKS = ("-", "--", "-.", ":")
INK = "#6b7680"  # to be read on white and on black


def scalar() -> Figure:
    """The gradient of the network of one number, by lag, at rest and saturated."""
    rest, nudge = jnp.zeros(40), jnp.zeros(40).at[0].set(0.01)
    curves = {
        "a = 0.3, at rest": scalar_flow(0.3, rest),
        "a = 1, at rest": scalar_flow(1.0, rest),
        "a = 3, at rest": scalar_flow(3.0, rest),
        "a = 3, nudged once: saturated": scalar_flow(3.0, nudge),
    }
    return _by_lag({name: np.asarray(flow.log_norms) for name, flow in curves.items()}, "|d L / d h(t-k)|")


def lags() -> Figure:
    """Which steps get credit from the loss of each step, by four rules; the darker, the more it is multiplied."""
    rules = {
        "full": bptt,
        "horizon 4": partial(truncated_bptt, horizon=4),
        "chunks of 4, horizon 8": lambda cell, loss: accumulate(truncated_bptt(cell, loss, horizon=8), 4),
        "one random draw": partial(randomized_bptt, segment_length=2, truncation=geometric(0.5)),
    }
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (name, rule) in zip(figure.subplots(1, len(rules), sharey=True), rules.items(), strict=True):
        factors = _factors(rule)
        shade = np.where(factors > 0, 1 - 0.6 / np.maximum(factors, 1), 0)
        axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, extent=(0.5, SPAN + 0.5, SPAN + 0.5, 0.5))
        axes.set(xticks=(1, 4, 8, 12, 16), yticks=(1, 4, 8, 12, 16))
        axes.set_title(name, fontsize=10)
    figure.supxlabel("step that gets credit", fontsize=10)
    figure.supylabel("step of the loss", fontsize=10)
    return figure


def cells() -> Figure:
    """The gradient's norm by lag in fresh cells of one size."""
    inputs, targets = jax.random.normal(jax.random.key(0), (2, STEPS, ROWS, SIZE))
    chunk, curves = Chunk(inputs, targets, jnp.ones((STEPS, ROWS))), {}
    models = {"RNN": elman(SIZE, SIZE), "GRU": gru(SIZE, SIZE), "LSTM": lstm(SIZE, SIZE)}
    models["LSTM, forget gate open"] = lstm(SIZE, SIZE, forget_bias=5.0)
    for name, cell in models.items():
        norms = lag_norms(cell, squared_error, cell.init(jax.random.key(1)), cell.initial_carry(ROWS), chunk)
        mean = np.asarray(summarize(norms).mean_log)[:, 0]
        curves[name] = mean - mean[0]
    return _by_lag(curves, "norm of the gradient, relative to lag 1")


def _factors(rule: Callable[..., GradientEstimator]) -> np.ndarray:
    """What a rule multiplies the credit of each step (columns) from the loss of each step (rows) by: 0 where it is cut.

    The input of step s brings in weight s alone, which is 0 and shifts the state of that step: so the gradient of the
    weight is the credit of the step. At a state of 0, with a recurrent weight of 1, nothing is lost on the way.
    """
    cell = elman(SPAN, 1, w_ih=zeros, w_hh=identity())
    params, carry = cell.init(jax.random.key(0)), cell.initial_carry(1)
    estimator = rule(cell, squared_error)

    @jax.jit
    def credit(weight):
        chunk = Chunk(jnp.eye(SPAN)[:, None], jnp.ones((SPAN, 1, 1)), weight[:, None])
        state = estimator.init(jax.random.key(0), params, carry, chunk)
        return estimator.estimate(params, state, chunk)[0].grads["w_ih"][:, 0]

    found = np.stack([np.asarray(credit(weight)) for weight in jnp.eye(SPAN)])  # a loss at one step at a time
    return found / np.diagonal(found)[:, None]


def _by_lag(curves: dict[str, np.ndarray], what: str) -> Figure:
    """Curves of natural logarithms, over the lag, in powers of ten."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, logs), style in zip(curves.items(), MARKS, strict=True):
        axes.plot(np.arange(1, len(logs) + 1), logs / np.log(10), style, label=name)
    axes.axhline(0, color=INK, lw=0.6)
    axes.set_xlabel("lag k: steps back")
    axes.set_ylabel(f"{what},\nin powers of ten")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def main() -> None:
    """Write the figures."""
    style = {"svg.hashsalt": "tutorial", "svg.fonttype": "none", "figure.facecolor": "white"}
    with matplotlib.rc_context(style):
        for name, figure in (("scalar_flow", scalar()), ("lags", lags()), ("cell_flow", cells())):
            figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
