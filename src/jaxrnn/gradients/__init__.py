"""Gradient estimators: how credit flows back (or forward) through time, as values."""

from jaxrnn.gradients.accumulate import accumulate
from jaxrnn.gradients.adaptive import adaptive_bptt, certify, credit_by_lag
from jaxrnn.gradients.base import CarryState, Chunk, Estimate, GradientEstimator
from jaxrnn.gradients.bptt import bptt
from jaxrnn.gradients.checkpointed import checkpointed_bptt
from jaxrnn.gradients.gate import gate, stop
from jaxrnn.gradients.randomized import geometric, heavy_tailed, randomized_bptt
from jaxrnn.gradients.rtrl import rtrl
from jaxrnn.gradients.snap1 import snap1
from jaxrnn.gradients.told import given, tell, told
from jaxrnn.gradients.truncated import truncated_bptt
from jaxrnn.gradients.uoro import uoro

__all__ = [
    "CarryState",
    "Chunk",
    "Estimate",
    "GradientEstimator",
    "accumulate",
    "adaptive_bptt",
    "bptt",
    "certify",
    "checkpointed_bptt",
    "credit_by_lag",
    "gate",
    "geometric",
    "given",
    "heavy_tailed",
    "randomized_bptt",
    "rtrl",
    "snap1",
    "stop",
    "tell",
    "told",
    "truncated_bptt",
    "uoro",
]
