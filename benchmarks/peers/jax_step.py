"""The train step of a JAX library: its own loss, differentiated by JAX, and optax; compiled once, the state donated."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from benchmarks.memory import temp_bytes
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights
from jaxrnn.mesh import in_turn


class Network(NamedTuple):
    """A library's model.

    Attributes:
        params: what is trained.
        carry: of all layers, zeros.
        apply: `(params, carry, inputs, key) -> (carry, logits)`, of every step or, for classes, of the last one.
        weights: `(params) -> weights`.
    """

    params: Any
    carry: Any
    apply: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    weights: Callable[[Any], Weights]


def prepare(row: Row, network: Network, batch: Batch) -> Prepared:
    """Compile the train step of a model.

    Args:
        row: the row.
        network: the model.
        batch: the data.

    Returns:
        It, ready to run.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(row.clip), optax.sgd(row.rate))

    def loss(params, carry, key, batch):
        carry, logits = network.apply(params, carry, batch.inputs, key)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)), carry

    def step(state, batch):
        params, memory, carry, key = state
        key, used = jax.random.split(key)
        (value, carry), grads = jax.value_and_grad(loss, has_aux=True)(params, carry, used, batch)
        updates, memory = optimizer.update(grads, memory)
        return (optax.apply_updates(params, updates), memory, carry, key), value

    # A copy: what is donated must not share its memory, as two states of zeros might.
    state = (network.params, optimizer.init(network.params), network.carry, jax.random.key(0))
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    data = jax.tree.map(jnp.asarray, batch)
    return compiled(jax.jit(step, donate_argnums=0), state, data, float, lambda state: network.weights(state[0]))


def compiled(
    step: Any,
    state: Any,
    data: Any,
    loss: Callable[[Any], float],
    weights: Callable[[Any], Weights],
    mesh: Mesh | None = None,
    devices: int = 1,
) -> Prepared:
    """Compile a step from state to state.

    Args:
        step: jitted `(state, data) -> (state, told)`, with the state donated.
        state: the first state.
        data: the same for every update.
        loss: `(told) -> loss`.
        weights: `(state) -> weights`.
        mesh: the devices that share the rows, if several do: then updates take turns where they have to.
        devices: how many run the program; the compiler tells the memory of one.

    Returns:
        It, ready to run.
    """
    began = time.perf_counter()
    program = step.lower(state, data).compile()
    seconds = time.perf_counter() - began

    advance = in_turn(program, mesh)

    def run(number: int) -> float:
        nonlocal state
        told = None
        for _ in range(number):
            state, told = advance(state, data)
        return loss(jax.block_until_ready((state, told))[1])

    temporary = temp_bytes(program)
    return Prepared(run, lambda: weights(state), None if temporary is None else devices * temporary, seconds)
