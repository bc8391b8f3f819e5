"""From one recurrence to `step`, a fused `unroll` and `trace`. The custom VJP of all recurrences lives here.

Differentiating `lax.scan` adds a term of the size of the weights at every step of the backward loop. Here the backward
loop gives back, for every product `a @ w` of every step, only the cotangent `d` of its result, and after the loop one
product over the whole block of time makes the gradient of the weight::

    dw = sum_t a_t^T d_t  =  concatenate(a)^T @ concatenate(d)          # [H, G*H], once a block

The forward loop keeps each step's incoming carry, the left side of each product where it is not that carry, and its
result, with what is added to it; the elementwise rest of a step is cheap and is computed again.

References:
    J. Appleyard, T. Kocisky, P. Blunsom, "Optimizing Performance of Recurrent Neural Networks on GPUs",
    arXiv:1604.01946 (the same regrouping of weight gradients, for cuDNN).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.cell import Cell, Recurrence, as_shape, product, step_of, unnoted
from jaxrnn.lookup import TakesLookup, of_rows
from jaxrnn.loop import scan
from jaxrnn.marks import heed_marks
from jaxrnn.products import as_now, in_reverse, mixed_matmul, narrowed, promoted, quick_by_rows, weight_gradient
from jaxrnn.sums import added, sum_dtype
from jaxrnn.trees import add_where_present, dependencies, is_float, join, partition, split_carry
from jaxrnn.types import Array, Carry, Params, Step


def derive(
    init: Callable[[Array], Params],
    initial_carry: Callable[..., Carry],
    recurrence: Recurrence,
    *,
    input_size: int | None = None,
    output_size: int | None = None,
) -> Cell:
    """Make a cell of its equations: `step`, a fused `unroll`, and marks.

    Args:
        init: `(key) -> params`.
        initial_carry: `(batch_shape, key=None) -> carry`; the cell's takes B for `(B,)`, this one sees the tuple.
        recurrence: the cell's equations.
        input_size: I.
        output_size: O.

    Returns:
        A cell that obeys the law of `Cell` and takes `Marked` inputs too.

    Cost:
        Forward, the products and elementwise functions of a step, kept: the carry, for each `dot` the result and the
        left side where it is not the carry, and `z` where it does not only stand in `dot(a, w, z)`.
        Backward, two products for each `dot`: one per step (the cotangent of its left side), one per block of time (the
        gradient of the weight). Reverse mode only: for forward mode use `scan_unroll(cell.step)`.

    Example:
        >>> def recur(params, h, z, dot, note):
        ...     h = note("h", jnp.tanh(dot(h, params["w_hh"], z)))
        ...     return h, h
        >>> start = lambda batch_shape, key=None: jnp.zeros((*batch_shape, 2))
        >>> cell = derive(lambda key: {"w_hh": jnp.eye(2)}, start, Recurrence(lambda params, x: x, recur))
        >>> carry, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry((3,)), jnp.ones((5, 3, 2)))
        >>> ys.shape
        (5, 3, 2)
    """

    def carry_of(batch_shape, key=None):
        return initial_carry(as_shape(batch_shape), key)

    recurrence = heed_marks(recurrence, carry_of)
    loop = fused_scan(recurrence.recur)

    def step(params, carry, x):
        return step_of(recurrence, params, carry, x)

    def unroll(params, carry, xs):
        return loop(params, carry, of_rows(in_reverse(recurrence.project), params, xs))

    return Cell(init, carry_of, step, TakesLookup(unroll), recurrence, input_size, output_size)


class Trace(NamedTuple):
    """All that happened in an unrolled cell.

    Attributes:
        carry: the carry after the last step.
        outputs: `[T, *batch, O]`.
        carries: like the carry, with a leading axis T: the carry *after* each step.
        notes: name -> `[T, *batch, ...]`, every state, gate and candidate that the cell names; layers of a stack
            prefix theirs, as in `"0/i"`.
    """

    carry: Carry
    outputs: Any
    carries: Carry
    notes: dict[str, Array]


def trace(cell: Cell, params: Params, carry: Carry, xs: Any) -> Trace:
    """Unroll a cell and record every carry and every gate at every step.

    Equals the loop::

        for t in range(T):
            notes = {}                                       # note(name, value): notes[name] = value; return value
            carry, ys[t] = recur(params, carry, project(params, xs[t]), dot, note)
            carries[t], all_notes[t] = carry, notes

    Args:
        cell: any cell.
        params: its parameters.
        carry: its carry.
        xs: `[T, *batch, I]`, or a `Marked` of such.

    Returns:
        The trace.

    Cost:
        Memory grows with T times everything noted: for an LSTM seven arrays of `[T, B, H]` and the carries.

    Example:
        >>> from jaxrnn.cells.lstm import lstm
        >>> cell = lstm(3, 4)
        >>> seen = trace(cell, cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> sorted(seen.notes), seen.notes["f"].shape
        (['c', 'f', 'g', 'h', 'i', 'o'], (5, 2, 4))
    """

    def body(carry, x):
        notes: dict[str, Array] = {}

        def note(name, value):
            notes[name] = value
            return value

        carry, y = step_of(cell.recurrence, params, carry, x, note=note)
        return carry, (y, carry, notes)

    carry, (ys, carries, notes) = jax.lax.scan(body, carry, xs)
    return Trace(carry, ys, carries, notes)


def fused_scan(recur: Callable[..., tuple[Carry, Any]]) -> Step:
    """Scan a recurrence over time; the gradient of each weight is one product after the backward loop.

    Equals `jax.lax.scan(lambda carry, z: recur(params, carry, z, product, unnoted), carry, zs)`.

    Args:
        recur: `(params, carry, z, dot, note) -> (carry, y)`. The right side of each `dot` must be computed from
            `params` alone. Parameters used in any other way (biases, peepholes, gains) are summed in the backward loop.

    Returns:
        `loop(params, carry, zs [T, ...]) -> (carry, ys [T, ...])`.

    Raises:
        TypeError: (from `loop`, when differentiated) where the right side of a `dot` depends on the carry or the input.

    Example:
        >>> loop = fused_scan(lambda params, h, z, dot, note: (dot(h, params["w"], z),) * 2)
        >>> loop({"w": jnp.array([[0.5]])}, jnp.zeros((1, 1)), jnp.ones((3, 1, 1)))[1].ravel().tolist()
        [1.0, 1.5, 1.75]
    """

    def loop(params, carry, zs):
        carry = _of_lasting_dtypes(recur, params, carry, zs)
        return _differentiable(as_now(recur))(params, carry, zs)

    return loop


def _of_lasting_dtypes(recur: Callable[..., tuple[Carry, Any]], params: Params, carry: Carry, zs: Any) -> Carry:
    """The carry, weakly typed leaves such as `jnp.full(shape, 0)` in the dtypes that a step gives them.

    `jax.lax.scan` would do so too, but after what it is to return has been settled with the others.
    """
    if not any(getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves(carry)):
        return carry
    after, _ = jax.eval_shape(lambda *its: recur(*its, product, unnoted), params, carry, _at_one_step(zs))
    return jax.tree.map(lambda a, b: a.astype(b.dtype) if getattr(a, "weak_type", False) else a, carry, after)


def _differentiable(recur: Callable[..., tuple[Carry, Any]]) -> Step:
    """The loop of `fused_scan`, with its derivative."""

    @jax.custom_vjp
    def loop(params, carry, zs):
        return scan(lambda carry, z: recur(params, carry, z, product, unnoted), carry, zs)

    def forward(params, carry, zs):
        _check_right_sides(recur, params, carry, _at_one_step(zs))
        weights = _right_sides(recur, params, carry, _at_one_step(zs))
        rights = [_laid_out(w, narrowed(w).dtype, transposed=False) for w in weights]

        def body(carry, z):
            lefts, products = [], []

            def dot(a, w, plus=None):
                del w  # made once, before the loop
                right, by_rows = rights[len(products)]
                a, right = promoted(a, right)
                lefts.append(narrowed(a))
                result = mixed_matmul(a, narrowed(right), by_rows=by_rows)
                products.append(result if plus is None else plus + result)
                return products[-1]

            new, y = recur(params, carry, z, dot, unnoted)
            return new, (y, carry, lefts, products)

        final, (ys, carries, lefts, products) = scan(body, carry, zs)
        return (final, ys), (params, carry, carries, zs, lefts, products)

    def backward(saved, cotangents):
        params, carry, carries, zs, lefts, products = saved
        one_step = (carry, _at_one_step(zs))
        weights, weights_vjp = jax.vjp(lambda p: _right_sides(recur, p, *one_step), params)
        rights = [_laid_out(w.astype(a.dtype), a.dtype, transposed=True) for w, a in zip(weights, lefts, strict=True)]
        direct, others = partition(params, _used_directly(recur, params, weights, *one_step))

        def body(summed, at_t):
            (d_carry, d_direct), (products, carry, z, d_y) = summed, at_t
            (carry, carry_rest), (z, z_rest) = split_carry(carry), split_carry(z)

            def elementwise(direct, carry, z, products):
                """The step with the results of its products given; their cotangents are what makes dw."""
                given = iter(zip(rights, products, strict=True))
                carry, z = join(carry, carry_rest), join(z, z_rest)

                def dot(a, w, plus=None):
                    del w
                    (right, by_rows), result = next(given)
                    plus = jnp.broadcast_to(0.0 if plus is None else plus, result.shape).astype(result.dtype)
                    return _recall(by_rows, a.astype(result.dtype), right, plus, result)

                return _floats(recur(join(direct, others), carry, z, dot, unnoted))

            _, pull = jax.vjp(elementwise, direct, carry, z, products)
            d_direct_here, d_carry, d_z, d_products = pull((d_carry, d_y))
            return (d_carry, added(d_direct, d_direct_here)), (d_z, d_products)

        d_final, d_ys = _floats(cotangents, like=(carry, cotangents[1]))
        start = (d_final, jax.tree.map(lambda p: jnp.zeros(p.shape, sum_dtype(p.dtype)), direct))
        xs = (products, carries, zs, d_ys)  # the cotangents of products take their place
        (d_carry, d_direct), (d_zs, d_products) = scan(body, start, xs, reverse=True)
        d_direct = optax.tree.cast_like(d_direct, direct)
        d_weights = [weight_gradient(_rows(a), _rows(d)) for a, d in zip(lefts, d_products, strict=True)]
        (d_params,) = weights_vjp([d.astype(w.dtype) for d, w in zip(d_weights, weights, strict=True)])
        return add_where_present(d_params, d_direct), d_carry, d_zs

    loop.defvjp(as_now(forward), backward)
    return loop


def _laid_out(w: Array, dtype: Any, *, transposed: bool) -> tuple[Array, bool]:
    """The right side of `a @ w`, or of `d @ w.T`, as it is multiplied at every step in a dtype, and whether by rows."""
    by_rows = quick_by_rows(dtype)
    return (w if by_rows == transposed else w.T), by_rows


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recall(by_rows: bool, a: Array, right: Array, plus: Array, result: Array) -> Array:
    """`plus + a @ w`, given the result: only the derivative is computed, by a product with `w.T`."""
    del by_rows, a, right, plus
    return result


def _recall_backward(by_rows: bool, right: Array, d: Array) -> tuple[Array, ...]:
    return mixed_matmul(d, right, by_rows=by_rows), jnp.zeros_like(right), d, d


_recall.defvjp(lambda by_rows, a, right, plus, result: (result, right), _recall_backward)


def _right_sides(recur, params: Params, carry: Carry, z: Any) -> list[Array]:
    """The right sides of a step's products, in order of call."""
    weights: list[Array] = []

    def dot(a, w, plus=None):
        weights.append(w)
        return product(a, w, plus)

    recur(params, carry, z, dot, unnoted)
    return weights


def _check_right_sides(recur, params: Params, carry: Carry, z: Any) -> None:
    """Refuse a product whose right side changes from step to step."""
    if any(jax.tree.leaves(dependencies(lambda others: _right_sides(recur, params, *others), (carry, z)))):
        raise TypeError("recur: the right side w of dot(a, w) must be computed from params alone, not from carry or z")


def _used_directly(recur, params: Params, weights: list[Array], carry: Carry, z: Any) -> Any:
    """Like the parameters: true for the floats that a step uses otherwise than on the right side of a product."""

    def step(params):
        given = iter(weights)
        return _floats(recur(params, carry, z, lambda a, w, plus=None: product(a, next(given), plus), unnoted))

    return jax.tree.map(lambda used, p: used and is_float(p), dependencies(step, params), params)


def _rows(a: Array) -> Array:
    """`[T, *batch, H]` as `[N, H]`."""
    return a.reshape(-1, a.shape[-1])


def _at_one_step(zs: Any) -> Any:
    """Zeros like the first step of a sequence, which may have no step at all."""
    return jax.tree.map(lambda z: jnp.zeros(z.shape[1:], z.dtype), zs)


def _floats(tree: Any, like: Any = None) -> Any:
    """The float leaves of a tree (where those of `like` are floats: cotangents of others have no proper dtype)."""
    return jax.tree.map(lambda a, b: b if is_float(a) else None, tree if like is None else like, tree)
