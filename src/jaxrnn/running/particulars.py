"""What runs, in detail: devices and rows, loops over time, what the backward pass needs, memory and compilation."""

import os
import platform
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxrnn.build import ONLINE_RULES
from jaxrnn.cell import Cell
from jaxrnn.config import Config, Gradient
from jaxrnn.consistency import has_budget, has_segments, readers
from jaxrnn.running.experiment import Experiment
from jaxrnn.running.programs import Compiled
from jaxrnn.running.wording import many, table

_OF_EACH_STEP = "of each step the carry and the results of its products; what is elementwise is computed again"


class Loops(NamedTuple):
    """The loops over time of a cell's `unroll`.

    Attributes:
        fused: with a derivative of their own, which makes the gradient of each weight after the loop.
        plain: differentiated by JAX, step by step.
    """

    fused: int
    plain: int


def particulars(experiment: Experiment, compiled: Compiled) -> str:
    """Say what runs, and what it takes.

    Args:
        experiment: the experiment.
        compiled: its train step.

    Returns:
        Some lines, for `jaxrnn train --verbose`.
    """
    config = experiment.config
    return table(
        ("backend", f"{jax.default_backend()} ({jax.devices()[0].device_kind}), jax {jax.__version__}"),
        ("rows", _rows(experiment)),
        ("unroll", _unroll(config.gradient, experiment.learner.cell)),
        ("kept", kept(config.gradient)),
        ("block", f"{block(config)}, for which the gradient of a weight is one product"),
        ("precision", precision(config)),
        ("allocator", _allocator(config)),
        ("programs", _programs()),
        ("train step", _compiled(compiled)),
    )


def loops(cell: Cell) -> Loops:
    """Count the loops over time in the program of a cell's `unroll`.

    Args:
        cell: symbols in.

    Returns:
        The loops, as they are traced: two steps, one row.

    Example:
        >>> from jaxrnn.cells import lstm
        >>> from jaxrnn.compose import language_model, stack
        >>> loops(language_model(stack(lstm(3, 4), lstm(4, 4)), 5))
        Loops(fused=2, plain=0)
    """
    params = jax.eval_shape(cell.init, jax.random.key(0))
    traced = jax.make_jaxpr(cell.unroll)(params, cell.initial_carry(1), jnp.zeros((2, 1), jnp.int32))
    found = list(_found(traced.jaxpr))
    return Loops(found.count("fused"), found.count("plain"))


def _found(program: core.Jaxpr) -> Iterator[str]:
    """The loops of a program, those within other operations too."""
    for operation in program.eqns:
        inner = [loop for part in core.jaxprs_in_params(operation.params) for loop in _found(part)]
        if operation.primitive.name == "scan":
            yield "plain"
        elif operation.primitive.name.startswith("custom_vjp_call"):
            yield from ["fused"] * len(inner)
        else:
            yield from inner


def kept(gradient: Gradient) -> str:
    """Say what a gradient rule keeps for its backward pass, and what it computes again.

    Args:
        gradient: the section.

    Returns:
        A few words.

    Example:
        >>> kept(Gradient(rule="rtrl"))
        'nothing: derivatives go forward in time'
    """
    if gradient.rule in ONLINE_RULES:
        return "nothing: derivatives go forward in time"
    if gradient.rule not in readers(Gradient, "segment_length"):
        return _OF_EACH_STEP
    segments = f"the carry where a segment begins; within the one that is computed again, {_OF_EACH_STEP}"
    return f"what {gradient.memory} allow: of each step everything, or {segments}" if has_budget(gradient) else segments


def block(config: Config) -> str:
    """Say over how many steps the gradient of a weight is one product.

    Args:
        config: the configuration.

    Returns:
        A number of steps, or what decides on it.

    Example:
        >>> block(Config(gradient=Gradient(rule="truncated", horizon=16)))
        '16 steps'
    """
    steps, gradient = config.data.chunk_length, config.gradient
    if has_budget(gradient):
        return f"segments that {gradient.memory} allow"
    if has_segments(gradient):
        return many(gradient.segment_length, "step")
    parts = {"truncated": min(steps, gradient.horizon)} | dict.fromkeys(ONLINE_RULES, 1)
    return many(parts.get(gradient.rule, steps), "step")


def precision(config: Config) -> str:
    """Say what products are made of.

    Args:
        config: the configuration.

    Returns:
        A few words. JAX lets GPUs and TPUs round operands of float32, unless it is told otherwise.

    Example:
        >>> precision(Config())
        'float32'
    """
    operands = config.training.precision
    if operands == "float32":
        asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        exact = jax.default_backend() == "cpu" or asked in ("float32", "highest")
        rounded = "float32, products as the device makes them (JAX_DEFAULT_MATMUL_PRECISION=highest: of float32)"
        return operands if exact else rounded
    in_blocks = config.model.vocabulary_block and not config.model.vocabulary_sample
    readout = ", the readout's of float32 ones" if in_blocks else ""
    return f"products of {operands} operands{readout}; sums, states and parameters in float32"


def _rows(experiment: Experiment) -> str:
    """How the rows of a batch are split."""
    rows, devices = experiment.config.data.batch_size, experiment.mesh.size
    there = f"of {many(jax.device_count(), 'device')} there, {devices} in use"
    apart = f"{rows // devices} on each, whose gradients are added up once an update" if devices > 1 else "all on it"
    return f"{rows}; {there}: {apart}"


def _unroll(gradient: Gradient, cell: Cell) -> str:
    """Which loops over time run."""
    if gradient.rule in ONLINE_RULES:
        return "step by step: one loop over time, which makes the derivatives as well"
    found, said = loops(cell), []
    if found.fused:
        said.append(f"fused: {many(found.fused, 'loop')} over time, gradients of weights made after it")
    if found.plain:
        said.append(f"stepwise: {many(found.plain, 'loop')} over time, gradients of weights added up in it")
    return ", ".join(said) or "all steps at once, in rounds that join pairs of steps"


def _allocator(config: Config) -> str:
    """Whether freed buffers are kept."""
    tunables = os.environ.get("GLIBC_TUNABLES")
    large = f"; GLIBC_TUNABLES={tunables}" if tunables else ""
    if not config.machine.keep_buffers:
        return f"as the system has it: machine.keep_buffers = false{large}"
    if platform.libc_ver()[0] != "glibc":
        return "as the system has it: the C library is not glibc"
    return f"glibc, which keeps freed buffers for the next step{large}"


def _programs() -> str:
    """Where compiled programs are kept."""
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    used = jax.config.jax_enable_compilation_cache and folder  # type: ignore[attr-defined]
    return f"kept in {folder}" if used else "compiled anew at every start"


def _compiled(compiled: Compiled) -> str:
    """What the train step takes."""
    took = f"compiled, or read from there, in {compiled.seconds:.1f} seconds"
    if compiled.temp_bytes is None or compiled.argument_bytes is None:
        return took
    sizes = (f"{size / 2**20:.1f} MiB" for size in (compiled.temp_bytes, compiled.argument_bytes))
    return "{}; {} of temporaries and {} of arguments on each device".format(took, *sizes)
