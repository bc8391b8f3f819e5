"""From averaged gradients to new parameters: optimizers and clipping, by name, all of them optax's.

An `Optimizer` keeps apart what a train step must see: the transformation works at rate 1, the rate and the clipping
stand beside it. So the rate in force can be reported, and lowered from outside while the moments stay as they are.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.averaging import averaged, follow
from jaxrnn.choices import is_number, look_up, require, unknown
from jaxrnn.errors import InputError
from jaxrnn.sums import norm as tree_norm
from jaxrnn.types import Array

DEFAULT_ADAMW_DECAY = 0.01
_NOT_OPTIONS = ("learning_rate", "weight_decay", "mask", "weight_decay_mask")
_DECAY_RATES = ("b1", "b2", "decay", "momentum", "rho")  # what is left of a running mean after an update


def unclipped(grads: Any, norm: Array) -> tuple[Any, Array]:
    """The clipping that changes nothing.

    Args:
        grads: like the parameters.
        norm: `[]`, their length.

    Returns:
        The same, and False.
    """
    del norm
    return grads, jnp.zeros((), bool)


class Optimizer(NamedTuple):
    """An optax transformation with its rate and its clipping standing beside it.

    Any optax optimizer will do: `Optimizer(optax.adam(1e-3))` has its rate inside, and then `rate` is a factor on it.

    Attributes:
        transformation: `init(params) -> state` and `update(grads, state, params) -> (updates, state)`, at rate 1.
        rate: `(step []) -> []`, the learning rate of the update that follows `step` earlier ones; by default always 1.
        clip: `(grads, norm []) -> (grads, clipped [])`, gradients like the parameters; it is given the averaged
            gradient with its length, and tells whether it has changed it.

    Example:
        >>> fading = Optimizer(optax.sgd(1.0), rate=lambda step: 1 / (1 + step))
        >>> [fading.rate(step) for step in (0, 1, 3)]
        [1.0, 0.5, 0.25]
    """

    transformation: optax.GradientTransformation
    rate: Callable[[Any], Any] = optax.constant_schedule(1.0)
    clip: Callable[[Any, Array], tuple[Any, Array]] = unclipped


def check_optimizer(name: str, optimizer: Any) -> None:
    """Refuse anything but an `Optimizer`, such as a bare transformation of optax.

    Args:
        name: the function that was given it.
        optimizer: what it was given.

    Raises:
        InputError: saying how to make one.

    Example:
        >>> check_optimizer("init", optax.sgd(0.1))
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: init: optimizer is a GradientTransformationExtraArgs; expected an Optimizer, such as \
optimizer('adam', 1e-3), or Optimizer(optax.adam(1e-3)) for any of optax's
    """
    if not isinstance(optimizer, Optimizer):
        expected = "an Optimizer, such as optimizer('adam', 1e-3), or Optimizer(optax.adam(1e-3)) for any of optax's"
        raise InputError(f"{name}: optimizer is a {type(optimizer).__name__}; expected {expected}")
    schedule = "a schedule (step) -> rate, such as optax.constant_schedule(0.1)"
    require(callable(optimizer.rate), f"{name}: optimizer.rate", optimizer.rate, schedule)


class Descent(NamedTuple):
    """What one update made.

    Attributes:
        params: the new parameters.
        state: the new state of the transformation.
        rate: `[]`, the learning rate in force.
        clipped: `[]`, whether the clipping changed the gradient.
        update_norm: `[]`, the length of the step from the old parameters to the new ones.
    """

    params: Any
    state: Any
    rate: Array
    clipped: Array
    update_norm: Array


def descend(
    optimizer: Optimizer, grads: Any, norm: Array, params: Any, state: Any, step: Array, rate_scale: Array
) -> Descent:
    """Make one update.

    ::

        used, clipped = clip(grads, norm)
        updates, state = transformation.update(used, state, params)
        params = params + rate(step) * rate_scale * updates

    and an average of the parameters, where the outermost transformation keeps one, takes note of them
    (`jaxrnn.averaging`).

    Args:
        optimizer: the optimizer.
        grads: like the parameters: the averaged gradient.
        norm: `[]`, its length.
        params: the parameters.
        state: of the transformation.
        step: `[]`, updates so far.
        rate_scale: `[]`, a factor on the rate.

    Returns:
        The new parameters and state, and what there is to report.

    Example:
        >>> w, sgd = jnp.array([1.0]), Optimizer(optax.sgd(1.0), rate=lambda step: 0.5)
        >>> made = descend(sgd, jnp.array([2.0]), jnp.array(2.0), w, sgd.transformation.init(w), 0, jnp.array(0.5))
        >>> made.params.tolist(), float(made.rate), float(made.update_norm), bool(made.clipped)
        ([0.5], 0.25, 0.5, False)
    """
    # Optax mixes integers with floats, and is meant for JAX's standard promotion, whatever its caller has set.
    with jax.numpy_dtype_promotion("standard"):
        used, clipped = optimizer.clip(grads, norm)
        updates, state = optimizer.transformation.update(used, state, params)
        rate = jnp.asarray(optimizer.rate(step), rate_scale.dtype) * rate_scale
        updates = jax.tree.map(lambda update: rate.astype(update.dtype) * update, updates)
        params = optax.apply_updates(params, updates)
        return Descent(
            params=params,
            state=follow(state, params),
            rate=rate,
            clipped=clipped,
            update_norm=tree_norm(updates),
        )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "asgd": optax.sgd,  # with an average of the parameters, which is kept below
    "momentum": partial(optax.sgd, momentum=0.9),
    "nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "adadelta": optax.adadelta,
    "adam": optax.adam,
    "adamw": optax.adam,  # Adam with decoupled decay: the decay is added below, as for every other name
    "nadam": optax.nadam,
    "amsgrad": optax.amsgrad,
    "adamax": optax.adamax,
    "radam": optax.radam,
    "adabelief": optax.adabelief,
    "yogi": optax.yogi,
    "lion": partial(optax.lion, weight_decay=0.0),
}


def optimizer(
    name: str,
    rate: float | Callable[[Any], Any],
    *,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    average: bool = False,
    **options: Any,
) -> Optimizer:
    """Make an optimizer by its name.

    Weight decay is decoupled from the gradient for every name: each update also takes `rate * weight_decay * w` off the
    matrices (and not off the biases: see `decays`). AdamW is Adam with such a decay.

    The rate multiplies what a transformation of optax gives at rate 1. Of all names `rmsprop` alone has state after the
    rate in optax, its momentum: here, as in PyTorch, a momentum gathers steps before the rate.

    Args:
        name: one of `OPTIMIZERS`.
        rate: the learning rate, or a schedule `(step []) -> []`.
        weight_decay: 0 or more; by default 0.01 for adamw, 0 for all others.
        clip_norm: see `clipping`.
        clip_value: see `clipping`.
        average: whether to keep an average of the parameters: see `jaxrnn.averaging`. With asgd one is kept anyway.
        **options: hyper-parameters of the optax factory, such as `b1=0.9` or `momentum=0.95`.

    Returns:
        The optimizer.

    Raises:
        InputError: for a name or an option that does not exist, or a value out of range.

    References:
        I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2. Their decay is
        multiplied by the schedule alone; here, as in optax and PyTorch, by the whole rate.

    Example:
        >>> adam = optimizer("adam", 2e-3, clip_norm=1.0, b2=0.99)
        >>> adam.rate(0)
        0.002
        >>> optimizer("adan", 2e-3)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: optimizer: no 'adan'; did you mean 'adam'? (expected one of: sgd, asgd, ...)
    """
    factory = look_up("optimizer", name, OPTIMIZERS)
    parameters = inspect.signature(factory).parameters
    known = {option: each.default for option, each in parameters.items() if option not in _NOT_OPTIONS}
    for option, value in options.items():
        if option not in known:
            raise InputError(f"optimizer {name}: option: {unknown(option, known)}")
        culprit, by_default = f"optimizer {name}: {option}", known[option]
        if option.endswith("dtype"):
            require(value is None or _is_dtype(value), culprit, value, "a dtype, such as 'bfloat16'")
        elif by_default is None or is_number(by_default):
            decay = option in _DECAY_RATES
            good = is_number(value) and (0 <= value < 1 if decay else math.isfinite(value))
            expected = "a number in [0, 1)" if decay else "a finite number"
            require(good or (value is None and by_default is None), culprit, value, expected)
    if options.get("nesterov") and (known | options).get("momentum", 0.0) is None:
        raise InputError(f"optimizer {name}: nesterov: there is no momentum to look ahead along; give momentum as well")
    if weight_decay is None:
        weight_decay = DEFAULT_ADAMW_DECAY if name == "adamw" else 0.0
    good = is_number(weight_decay) and 0 <= weight_decay < math.inf
    require(good, "optimizer: weight_decay", weight_decay, "a number, 0 or more")
    transformation = factory(learning_rate=1.0, **options)
    if weight_decay > 0:
        # The updates already point downhill, so that the decay is added with the opposite sign.
        transformation = optax.chain(transformation, optax.add_decayed_weights(-weight_decay, mask=decays))
    if average or name == "asgd":
        transformation = averaged(transformation)
    if not callable(rate):
        good = is_number(rate) and 0 < rate < math.inf
        require(good, "optimizer: rate", rate, "a number, more than 0, or a schedule (step) -> rate")
        rate = optax.constant_schedule(rate)
    return Optimizer(transformation, rate, clipping(norm=clip_norm, value=clip_value))


def _is_dtype(value: Any) -> bool:
    """Whether NumPy, with the narrow floats that JAX adds, knows such a dtype."""
    try:
        jnp.dtype(value)
    except TypeError:
        return False
    return True


def decays(params: Any) -> Any:
    """Tell which parameters decay: those of two axes or more, that is matrices, embeddings among them.

    No bias and no gain does, nor a weight of which each unit has one of its own, as the peepholes of an LSTM.

    Args:
        params: any tree of arrays.

    Returns:
        A tree of the same structure, of booleans.

    Example:
        >>> decays({"w_hh": jnp.zeros((2, 2)), "b_hh": jnp.zeros(2)})
        {'b_hh': False, 'w_hh': True}
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def clipping(*, norm: float | None = None, value: float | None = None) -> Callable[[Any, Array], tuple[Any, Array]]:
    """Make a clipping of gradients, by value first and then by global norm, where both are asked for.

    By value, every entry is brought into `[-value, value]`. By norm, a gradient longer than `norm` is scaled down to
    that length, which keeps its direction. The length is that of the whole tree: a tied weight stands in it once.

    Args:
        norm: the longest length allowed; None and inf set no limit.
        value: the largest entry allowed; None and inf set no limit.

    Returns:
        `(grads, norm []) -> (grads, clipped [])`, given the length that the gradient has and telling whether it was
        changed.

    Raises:
        InputError: where a bound is not more than 0.

    Cost:
        By norm a factor that every use of the gradient is multiplied by: since the length is given, no pass over it.

    References:
        R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
        Algorithm 1 (by norm). T. Mikolov, PhD thesis, Brno University of Technology, 2012 (by value).

    Example:
        >>> gradient, length = jnp.array([3.0, 4.0]), jnp.array(5.0)
        >>> shorter, clipped = clipping(norm=1.0)(gradient, length)
        >>> [round(float(g), 3) for g in shorter], bool(clipped)
        ([0.6, 0.8], True)
        >>> clipping(value=3.5)(gradient, length)[0].tolist()
        [3.0, 3.5]
    """
    value, norm = (math.inf if bound is None else bound for bound in (value, norm))
    for name, bound in (("clip_value", value), ("clip_norm", norm)):
        good = is_number(bound) and bound > 0
        require(good, f"optimizer: {name}", bound, "a number, more than 0 (inf = no clipping)")
    if value == norm == math.inf:
        return unclipped

    def clip(grads, length):
        clipped = jnp.zeros((), bool)
        if value < math.inf:
            largest = jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(grads)])
            grads, clipped = optax.tree.clip(grads, -value, value), jnp.any(largest > value)
            length = tree_norm(grads)
        if norm < math.inf:
            too_long = length > norm
            shrink, clipped = jnp.where(too_long, norm / length, 1.0), clipped | too_long
            grads = jax.tree.map(lambda g: shrink.astype(g.dtype) * g, grads)
        return grads, clipped

    return clip
