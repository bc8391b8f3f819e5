"""One estimate, alone in a process: how much memory did the whole process have in use at most?

    python -m benchmarks.full_vs_truncated.process RULE HIDDEN ROWS STEPS HORIZON

Prints one line of JSON. Parameters and text are random, for their shapes are all that matters. The rule "nothing" stops
before anything is compiled for a gradient: with libraries, model and data, it is what the others stand on.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.full_vs_truncated.rules import RULES, Case
from benchmarks.full_vs_truncated.text import VOCABULARY, model
from benchmarks.memory import peak_rss
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy


def main(name: str, hidden: int, rows: int, steps: int, horizon: int) -> None:
    """Compute once and say what it took.

    Args:
        name: of the rule, or "nothing".
        hidden: H.
        rows: B.
        steps: T.
        horizon: k.
    """
    cell = model(hidden)
    params, carry = jax.jit(cell.init)(jax.random.key(0)), cell.initial_carry(rows)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (2, steps, rows), dtype=np.int32)
    chunk = jax.block_until_ready(Chunk(jnp.asarray(ids[0]), jnp.asarray(ids[1]), jnp.ones((steps, rows))))
    if name != "nothing":
        rule = RULES[name].make(Case(cell, softmax_cross_entropy, params, carry, chunk, horizon))
        state = rule.init(jax.random.key(0), params, carry, chunk)
        jax.block_until_ready(jax.jit(rule.estimate)(params, state, chunk))
    print(json.dumps({"peak_rss_bytes": peak_rss()}))


if __name__ == "__main__":
    main(sys.argv[1], *(int(size) for size in sys.argv[2:]))
