"""Why credit vanishes or explodes: eigenvalues of the weights, singular values and exponents of the true Jacobians.

Eigenvalues say what powers of one matrix do in the end, and nothing of what gates and activations do. The Jacobians
along a sequence say it all, but their product must never be multiplied out: its columns become parallel, and all its
singular values but the largest drown in rounding. QR decompositions keep them apart.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.sums import sum_dtype, widened
from jaxrnn.trees import end_to_end, expect_rows, join, split_carry
from jaxrnn.types import Array, Carry, Params

MOST_SWEEPS = 200


def blocks(w_hh: Array) -> Array:
    """Take a recurrent weight apart, one matrix for each gate.

    Args:
        w_hh: `[H, G*H]`.

    Returns:
        `[G, H, H]`, in the order of the gates.

    Raises:
        InputError: for another shape. A cell whose state is smaller than its gates, such as `projection_lstm`, has no
            such matrices, even where its shape is of that form.

    Example:
        >>> blocks(jnp.ones((3, 12))).shape
        (4, 3, 3)
    """
    good = w_hh.ndim == 2 and 0 < w_hh.shape[0] and w_hh.shape[1] % w_hh.shape[0] == 0
    require(good, "blocks: the shape of w_hh", w_hh.shape, "[H, G*H]")
    size = w_hh.shape[0]
    return jnp.moveaxis(w_hh.reshape(size, -1, size), 1, 0)


class Growth(NamedTuple):
    """What the powers of a matrix do, beside what its eigenvalues promise.

    Attributes:
        eigenvalues: complex `[H]`, the largest modulus first.
        radius: the largest modulus.
        log_norms: `[K]`, in row k - 1 `log ||W^k||`, the growth measured: the largest over all directions.
        log_powers: `[K]`, in row k - 1 `k log radius`, the growth promised.
        peak: the largest of `log_norms`; above 0 though the radius is below 1: a transient.
        departure: from normality, 0 to 1: the share of the Frobenius norm that is not in the eigenvalues.
    """

    eigenvalues: np.ndarray
    radius: float
    log_norms: np.ndarray
    log_powers: np.ndarray
    peak: float
    departure: float


def growth(w: Array, steps: int) -> Growth:
    """Hold the growth of a matrix's powers against that of its eigenvalues.

    For every matrix `||W^k|| >= radius^k`, and in the end `||W^k||^(1/k)` goes to the radius. For a normal one, such as
    a symmetric or an orthogonal one, both are equal at every k. One that is not normal may first grow by many powers of
    ten and only then shrink, which no eigenvalue shows. The departure from normality is that of Henrici::

        departure = sqrt(1 - sum |eigenvalue|^2 / ||W||_F^2)            # 0 just for normal matrices

    Args:
        w: `[H, H]`, such as one of `blocks`.
        steps: K, the highest power.

    Returns:
        The growth, in float64 on the host.

    Raises:
        InputError: for a matrix that is not square or not finite, or for no step at all.

    Cost:
        K singular value decompositions of `[H, H]`.

    References:
        L. N. Trefethen, M. Embree, "Spectra and Pseudospectra", Princeton 2005, chapters 14 to 16.
        P. Henrici, "Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices",
        Numerische Mathematik 4, 1962.

    Example:
        >>> grown = growth(jnp.array([[0.5, 10.0], [0.0, 0.5]]), steps=40)
        >>> grown.radius, grown.peak > 2, bool(grown.log_norms[-1] < -20), grown.departure > 0.9
        (0.5, True, True, True)
    """
    require(is_whole(steps), "growth: steps", steps, "a whole number, at least 1")
    matrix = np.asarray(w, np.float64)
    square = matrix.ndim == 2 and 0 < matrix.shape[0] == matrix.shape[1]
    good = square and np.isfinite(matrix).all()
    require(good, "growth: w", f"of shape {matrix.shape}", "a square matrix of finite numbers")
    eigenvalues = np.linalg.eigvals(matrix)
    eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues))].astype(complex)
    power, log_size, log_norms = np.eye(len(matrix)), 0.0, []
    with np.errstate(divide="ignore"):
        for _ in range(steps):
            power = power @ matrix
            size = np.linalg.norm(power, 2)
            power, log_size = power / (size or 1.0), log_size + np.log(size)
            log_norms.append(log_size)
        radius = float(np.abs(eigenvalues[0]))
        log_powers = np.arange(1, steps + 1) * np.log(radius)
    whole = np.linalg.norm(matrix) ** 2
    share = np.sum(np.abs(eigenvalues) ** 2) / whole if whole else 1.0
    departure = float(np.sqrt(max(0.0, 1.0 - share)))
    return Growth(eigenvalues, radius, np.array(log_norms), log_powers, float(max(log_norms)), departure)


def jacobians(cell: Cell, params: Params, carry: Carry, xs: Any) -> Array:
    """Differentiate each step of a sequence: `J_t = d carry_t / d carry_{t-1}`, row by row.

    Args:
        cell: any cell whose rows do not see each other.
        params: its parameters.
        carry: the carry to start from, with N floats a row.
        xs: `[T, B, ...]`.

    Returns:
        `[T, B, N, N]`: entry `[t, b, i, j]` is what float j of the carry before does to float i of the one after.

    Raises:
        TypeError: (from JAX) for a cell within `mixed_precision`, which has reverse mode only.

    Cost:
        N forward derivatives a step, and memory for all of them; where they are too many, see `lyapunov`.

    Example:
        >>> from jaxrnn.analysis.scalar import scalar_rnn
        >>> cell = scalar_rnn(0.3)
        >>> jacobians(cell, cell.init(jax.random.key(0)), jnp.zeros(1), jnp.zeros((2, 1))).round(3).ravel().tolist()
        [0.30000001192092896, 0.30000001192092896]
    """
    _check_rows("jacobians", cell, carry)

    def body(carry, x):
        carry, push = _linearized(cell, params, carry, x)
        return carry, push(_first_columns(carry, None))

    return jax.lax.scan(body, carry, xs)[1]


def lyapunov(
    cell: Cell, params: Params, carry: Carry, xs: Any, *, columns: int | None = None, burn_in: int = 0
) -> Array:
    """Measure the Lyapunov exponents: the mean rates at which small changes of the carry grow along a sequence.

    Equals the loop, for each row::

        Q = identity[:, :k]
        for t in range(T):
            Q, R = qr(J_t Q)
            total += log|diag R|                     # from step burn_in on
        exponents = total / (T - burn_in)

    The sum is compensated (Kahan), so that its error does not grow with T.

    For all N of them the sum is the mean of `log |det J_t|`, exactly. A constant J gives the logarithms of the
    moduli of its eigenvalues: where these are distinct, a burn-in that is long enough leaves only rounding; where a
    complex pair shares one, the columns keep turning, and each exponent is right up to O(1/T), their sum exactly.

    Args:
        cell: any cell whose rows do not see each other.
        params: its parameters.
        carry: the carry to start from, with N floats a row.
        xs: `[T, B, ...]`.
        columns: k; by default all N. Fewer are the first k of the whole.
        burn_in: steps that are left out of the mean, until the columns have found their directions.

    Returns:
        `[B, k]`, in nats a step, the largest first as far as T tells them apart. Minus infinity for directions that a
        step destroys.

    Raises:
        InputError: for columns or a burn-in out of range.

    Cost:
        A step takes k forward derivatives and a QR decomposition `[N, k]`; memory for one of these.

    References:
        R. Engelken, F. Wolf, L. F. Abbott, "Lyapunov spectra of chaotic recurrent neural networks", arXiv:2006.02427,
        section II. R. Vogt et al., "On Lyapunov exponents for RNNs", arXiv:2006.14123.

    Example:
        >>> from jaxrnn.analysis.scalar import scalar_rnn
        >>> cell = scalar_rnn(0.5)
        >>> lyapunov(cell, cell.init(jax.random.key(0)), jnp.zeros(1), jnp.zeros((20, 1))).round(3).item()
        -0.6930000185966492
    """
    _check_rows("lyapunov", cell, carry)
    steps = jax.tree.leaves(xs)[0].shape[0]
    require(is_whole(burn_in, 0) and burn_in < steps, "lyapunov: burn_in", burn_in, f"from 0 to {steps - 1} steps")
    basis = _first_columns(carry, columns)

    def body(running, at_step):
        (carry, basis, total, lost), (t, x) = running, at_step
        carry, push = _linearized(cell, params, carry, x)
        basis, triangle = jnp.linalg.qr(push(basis))
        more = jnp.where(t < burn_in, 0, _log_diagonal(triangle)) - lost
        after = total + more
        lost = jnp.where(jnp.isfinite(after), (after - total) - more, 0)  # what rounding has added
        return (carry, basis, after, lost), None

    zeros = jnp.zeros_like(_log_diagonal(basis[:, : basis.shape[2]]))
    (_, _, total, _), _ = jax.lax.scan(body, (carry, basis, zeros, zeros), (jnp.arange(steps), xs))
    return total / (steps - burn_in)


def log_singular_values(factors: Array) -> Array:
    """Find the singular values of a product of matrices that is never multiplied out.

    A chain of QR decompositions makes the factors triangular, with an orthogonal matrix left over::

        J_T ... J_1 = Q R_T ... R_1

    The singular values are those of `R_1^T ... R_T^T`, whose factors go through the same again. Each sweep brings the
    product nearer to a diagonal one, in which the singular values are the products of the diagonals.

    Args:
        factors: `[T, ..., N, N]`, such as `jacobians` gives: the first is applied first.

    Returns:
        `[..., N]`, the logarithms of the singular values, the largest first.

    Cost:
        A sweep is T decompositions of `[N, N]`, and there are few unless singular values lie close together; at most
        200 are made. Neighbours whose logarithms, summed over the product, are closer than about 0.02 may then still be
        some 0.004 off, one up and one down.

    References:
        H. F. von Bremen, F. E. Udwadia, W. Proskurowski, "An efficient QR based method for the computation of Lyapunov
        exponents", Physica D 101, 1997.

    Example:
        >>> tall, flat = jnp.diag(jnp.array([1e20, 1.0])), jnp.diag(jnp.array([1e20, 1e-20]))
        >>> (log_singular_values(jnp.stack([tall, flat])) / jnp.log(10.0)).round(3).tolist()
        [40.0, -20.0]
    """
    factors = widened(factors)  # LAPACK knows no 16 bits
    # By rounding alone, the sum of T logarithms changes by about so much from one sweep to the next.
    unsettled = 8 * factors.shape[0] * jnp.finfo(factors.dtype).eps

    def push(basis, factor):
        basis, triangle = jnp.linalg.qr(factor @ basis)
        return basis, triangle

    def sweep(state):
        chain, before, _, count = state
        first = jnp.broadcast_to(jnp.eye(chain.shape[-1], dtype=chain.dtype), chain.shape[1:])
        triangles = jax.lax.scan(push, first, chain)[1]
        logs = jnp.sum(_log_diagonal(triangles), axis=0)
        change = jnp.max(jnp.where(logs == before, 0, jnp.abs(logs - before)), initial=0)
        return jnp.swapaxes(triangles[::-1], -1, -2), logs, change, count + 1

    start = (factors, jnp.full(factors.shape[1:-1], jnp.inf, factors.dtype), jnp.asarray(jnp.inf, factors.dtype), 0)
    goes_on = lambda state: (state[2] > unsettled) & (state[3] < MOST_SWEEPS)  # noqa: E731
    return jnp.sort(jax.lax.while_loop(goes_on, sweep, start)[1], axis=-1, descending=True)


def _log_diagonal(triangles: Array) -> Array:
    """The logarithms of the moduli on the diagonal, `[..., k, k] -> [..., k]`."""
    return jnp.log(jnp.abs(jnp.diagonal(triangles, axis1=-2, axis2=-1)))


def _check_rows(name: str, cell: Cell, carry: Carry) -> None:
    """Refuse a carry of no rows or of several axes of them: units would be taken for rows."""
    rows = jax.tree.leaves(split_carry(carry)[0])[0].shape[:1]
    message = f"{name}: the carry (tree 0) must have one axis of rows, as in initial_carry(B) (tree 1)"
    expect_rows(message, carry, cell.initial_carry, rows)


def _first_columns(carry: Carry, columns: int | None) -> Array:
    """The first columns of the identity for each row of a carry, `[B, N, k]`."""
    floats = split_carry(carry)[0]
    flat = end_to_end(floats, jax.tree.leaves(floats)[0].shape[0])
    rows, size = flat.shape
    columns = size if columns is None else columns
    require(is_whole(columns) and columns <= size, "lyapunov: columns", columns, f"a whole number from 1 to {size}")
    return jnp.broadcast_to(jnp.eye(size, columns, dtype=sum_dtype(flat.dtype)), (rows, size, columns))


def _linearized(cell: Cell, params: Params, carry: Carry, x: Any):
    """The carry after a step, and the function that takes columns `[B, N, k]` through its Jacobian."""
    floats, others = split_carry(carry)
    leaves, structure = jax.tree.flatten(floats)
    ends = np.cumsum([leaf[0].size for leaf in leaves])[:-1]

    def step(floats):
        return split_carry(cell.step(params, join(floats, others), x)[0])

    after, push, others = jax.linearize(step, floats, has_aux=True)

    def push_one(column):
        parts = zip(jnp.split(column, ends, axis=1), leaves, strict=True)
        tangents = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in parts]
        return end_to_end(push(jax.tree.unflatten(structure, tangents)), len(column)).astype(column.dtype)

    return join(after, others), jax.vmap(push_one, in_axes=-1, out_axes=-1)
