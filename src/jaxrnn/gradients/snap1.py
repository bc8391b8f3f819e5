"""SnAp-1: forward in time, each parameter followed on the one unit it feeds; exact for element-wise recurrences."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, unnoted
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import GradientEstimator
from jaxrnn.gradients.influence import (
    OnlineRule,
    followed,
    forward_mode,
    influencing,
    map_rows,
    rows_of,
)
from jaxrnn.marks import unmarked
from jaxrnn.shapes import product_or_zero, spread
from jaxrnn.trees import is_float, is_key, join, split_carry, threefry
from jaxrnn.types import Array, Carry, Loss, Params


def snap1(cell: Cell, loss: Loss) -> GradientEstimator:
    """Make the estimator that keeps of the influence only that of each parameter on the unit it feeds.

    Unit i is place i of every state in the carry: `h_i`, and `c_i` in an LSTM. The number in column `g*H + i` of a
    parameter (`w_hh [H, G*H]`, `b_ih [G*H]`, ...) feeds unit i, through gate g. It has one trace for each state: s, the
    derivative of that state of unit i with respect to it. With `J_ab = da_i'/db_i`, where every product of the
    recurrence counts its diagonal only (h_i acts on gate g of unit i by `w_hh[i, g*H + i]`, and on no other unit)::

        grads += dl_t/dparams + sum_a dl_t/da s_a           # a = h, c before step t: one step is differentiated whole
        s_a = sum_b J_ab s_b + da'/dparam

    So credit goes back one step along all ways, and further back within single units only.

    **Exact where the recurrence is element-wise**, as that of `jaxrnn.cells.elstm` is: then nothing is dropped, and
    this is real-time recurrent learning with one trace a parameter, equal to `bptt` over the whole past. Elsewhere it
    is biased, for good: what units do to each other over two steps or more is not seen.

    It takes one recurrent layer, with anything without memory above it (a readout) or below. Parameters that feed many
    units at once, such as an embedding below the layer, have no unit of their own: they get the credit of the same step
    only. In a GRU with the reset before the product, both products count their diagonals.

    **When not to use it**: with dense recurrent weights, unless the stream has no end and each step must be learned
    from at once. Truncated BPTT takes less memory than B P and less compute, and is exact up to its horizon. With
    updates inside a sequence, the traces are made of old parameters.

    Args:
        cell: a cell with one recurrent layer, whose states have one size and whose products all go through `dot`.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.

    Returns:
        The estimator. Its state holds the traces, `[B, S, ...]` for a parameter `[...]` and S states (2 for an LSTM).
        Exact for element-wise recurrences, else biased.

    Raises:
        InputError: (from `init` and `estimate`) for a chunk without a step; (from `init`) for more than one
            recurrent layer; for a layer whose units mix otherwise: by a norm, a projection to another size, dropped
            weights, or a hand-written `step` that shows no `dot`; and where parameters reach the carry, but each of
            them by many units.

    Cost:
        Memory B S P, and for each step compute of about B S^2 P: both free of T, and no H times P anywhere.

    References:
        J. Menick, E. Elsen, U. Evci, S. Osindero, K. Simonyan, A. Graves, "Practical Real Time Recurrent Learning with
        a Sparse Approximation", ICLR 2021, section 3 (there the last step, too, is masked before the loss is read off).
        K. Irie, A. Gopalakrishnan, J. Schmidhuber, "Exploring the Promise and Limits of Real-Time Recurrent Learning",
        ICLR 2024, arXiv:2305.19044, section 3 (exact, for element-wise recurrences).

    Example:
        >>> from jaxrnn.cells.elstm import elstm
        >>> from jaxrnn.gradients import Chunk, bptt
        >>> from jaxrnn.losses import squared_error
        >>> cell = elstm(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((6, 2, 3)), jnp.zeros((6, 2, 4)), jnp.ones((6, 2)))
        >>> online, backward = (make(cell, squared_error) for make in (snap1, bptt))
        >>> state = online.init(jax.random.key(1), params, carry, chunk)
        >>> state.influence["w_ih"].shape                       # one trace for each row and number
        (2, 1, 3, 12)
        >>> estimate, _ = online.estimate(params, state, chunk)
        >>> exact, _ = backward.estimate(params, backward.init(None, params, carry, chunk), chunk)
        >>> bool(jnp.allclose(estimate.grads["w_c"], exact.grads["w_c"], rtol=1e-5))
        True
    """

    def start(key, params, carry, x):
        del key
        size = _one_size(carry)
        fed = _feeding_one_unit(cell, influencing(cell, params, carry, x), params, carry, x, size)
        floats = jax.tree.leaves(split_carry(carry)[0])

        def no_trace(p):
            return jnp.zeros((rows_of(x), len(floats), *jnp.shape(p)), jnp.result_type(p, *floats))

        return jax.tree.map(no_trace, fed)

    def credit(d_carry, influence):
        def one_parameter(traces):
            d_states = jnp.stack(jax.tree.leaves(d_carry), axis=1)
            return jnp.sum(product_or_zero(_to_columns(d_states, traces), traces), axis=(0, 1))

        return jax.tree.map(one_parameter, influence)

    def advance(params, carry, x, influence):
        params, others = followed(params, influence)

        def one_row(carry, x, traces):
            states, step = _unit_by_unit(cell, others, carry, x)
            _, pull = jax.vjp(step, params, states)
            number = states.shape[0]
            each = jnp.eye(number, dtype=states.dtype)[:, :, None]
            direct, diagonal = jax.vmap(pull)(jnp.broadcast_to(each, (number, *states.shape)))

            def one_parameter(direct, s):
                own = _to_columns(diagonal, direct[None]).astype(s.dtype)
                return direct.astype(s.dtype) + jnp.sum(product_or_zero(own, s[None]), axis=1)

            return jax.tree.map(one_parameter, direct, traces)

        return map_rows(one_row, carry, x, influence)

    return forward_mode(cell, loss, OnlineRule(start, credit, advance))


def _unit_by_unit(cell: Cell, others: Params, carry: Carry, x: Any) -> tuple[Array, Callable]:
    """One row's states `[S, H]`, and its step `(params, states) -> states'` with the derivative of single units."""
    floats, noise = split_carry(carry)
    leaves, structure = jax.tree.flatten(floats)
    project, recur = cell.recurrence

    def step(params, states):
        params, carry = join(params, others), join(jax.tree.unflatten(structure, list(states)), noise)
        new, _ = recur(params, carry, project(params, x), _diagonal_product, unnoted)
        return jnp.stack(jax.tree.leaves(split_carry(new)[0]))

    return jnp.stack(leaves), step


def _diagonal_product(a: Array, w: Array, plus: Any = None) -> Array:
    """`plus + a @ w`, and for `w [H, G*H]` of its derivative by `a` only what `a_i` does to the gates of unit i."""
    size, columns = w.shape
    plus = 0.0 if plus is None else plus
    if a.shape[-1] != size or columns % size:
        return plus + a @ w
    own = jax.lax.stop_gradient(jnp.diagonal(w.reshape(size, columns // size, size), axis1=0, axis2=2))
    along = jnp.tile(a, columns // size) * own.reshape(-1)
    return plus + jax.lax.stop_gradient(a) @ w + (along - jax.lax.stop_gradient(along))


def _to_columns(units: Array, like: Array) -> Array:
    """From one value a unit to one a column: `[B, S, H] -> [B, S, 1, ..., G*H]`, with the axes of `like`."""
    gates = like.shape[-1] // units.shape[-1]
    return jnp.expand_dims(jnp.tile(units, gates), range(2, like.ndim - 1))


def _one_size(carry: Carry) -> int:
    """H, the size of all states of the carry; other carries are refused."""
    sizes = sorted({leaf.shape[1:] for leaf in jax.tree.leaves(split_carry(carry)[0])})
    if len(sizes) != 1 or len(sizes[0]) != 1:
        raise InputError(
            f"snap1: the states in the carry have sizes {sizes}; expected those of one recurrent layer, all [B, H]; "
            "for other cells use rtrl, uoro, or a rule that goes back through time"
        )
    return sizes[0][0]


def _feeding_one_unit(cell: Cell, reaching: Params, params: Params, carry: Carry, x: Any, size: int) -> Params:
    """Those parameters of which each number feeds the unit of its column, and no other; None for the others.

    Asked of the step itself, at random numbers: if only unit i hangs on a number, then weighing the units by v weighs
    its derivative by v_i. A cell with noise is asked with it, for that may change its products, and without, for that
    may hide them. Where all that reaches the carry feeds many units, nothing would be followed, and it is refused.
    """

    def alone(carry, x, params):
        floats, noise = split_carry(carry)
        floats, x, params = _random_numbers((floats, x, params))
        states, step = _unit_by_unit(cell, params, join(floats, noise), x)
        _, pull = jax.vjp(step, params, states)
        v = jax.random.normal(jax.random.key(1), (size,), states.dtype)
        plain, weighed = (pull(jnp.broadcast_to(w, states.shape)) for w in (jnp.ones_like(v), v))
        return jax.tree.map(partial(_is_weighed, v=v), plain, weighed)

    with jax.ensure_compile_time_eval():  # numbers are needed, even where `init` is being traced
        keys = [None, threefry(0)] if any(map(is_key, jax.tree.leaves(carry))) else [None]
        answers = [alone(cell.initial_carry((), key), _first_row(x), params) for key in keys]
    by_parameter, by_state = jax.tree.map(lambda *yes: all(yes), *answers)
    if not by_state:
        raise InputError(
            "snap1: the units of the carry act on each other otherwise than by the `dot` products of one recurrent "
            "layer (more layers, a norm over units, dropped weights, a hand-written step); for such cells use rtrl, "
            "uoro, or a rule that goes back through time"
        )
    fed = jax.tree.map(lambda p, yes: p if yes else None, reaching, by_parameter, is_leaf=lambda p: p is None)
    if jax.tree.leaves(reaching) and not jax.tree.leaves(fed):
        raise InputError(
            "snap1: every parameter that reaches the carry feeds many units, so that none can be followed; expected "
            "some with a column for each unit; use rtrl, uoro, or a rule that goes back through time"
        )
    return fed


def _is_weighed(plain: Array, weighed: Array, v: Array) -> bool:
    """Whether each column of the second is that of the first times the weight of its unit, up to rounding."""
    if plain.ndim == 0 or plain.shape[-1] % v.size:
        return False
    by_column = spread(jnp.tile(v, plain.shape[-1] // v.size), plain)
    error = jnp.max(jnp.abs(weighed - by_column * plain))
    coarser = max(float(jnp.finfo(a.dtype).eps) for a in (plain, v))  # what comes back to a parameter has its dtype
    return bool(error <= coarser**0.5 * jnp.max(jnp.abs(weighed)))


def _first_row(x: Any) -> Any:
    """The first row of an input, without its marks."""
    return jax.tree.map(lambda leaf: leaf[0], unmarked(x))


def _random_numbers(tree: Any) -> Any:
    """Random numbers in the place of all floats, of which only the shapes are asked; zeros for integers."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(0), len(leaves))

    def draw(key, leaf):
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        return jax.random.normal(key, shape, dtype) if is_float(leaf) else jnp.zeros(shape, dtype)

    return jax.tree.unflatten(structure, [draw(key, leaf) for key, leaf in zip(keys, leaves, strict=True)])
