"""Draw the figures of the tutorial, from what the library computes.

python docs/tutorial_figures.py          # writes docs/images/scalar_flow.svg and docs/images/cell_flow.svg
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jaxrnn.analysis.flow import lag_norms, summarize
from jaxrnn.analysis.scalar import scalar_flow
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.gradients import Chunk
from jaxrnn.losses import squared_error

IMAGES = Path(__file__).parent / "images"
STEPS, ROWS, SIZE = 200, 8, 32
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
    """Write both figures."""
    style = {"svg.hashsalt": "tutorial", "svg.fonttype": "none", "figure.facecolor": "white"}
    with matplotlib.rc_context(style):
        for name, figure in (("scalar_flow", scalar()), ("cell_flow", cells())):
            figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
