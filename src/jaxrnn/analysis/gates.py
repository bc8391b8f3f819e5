"""Gate saturation: how much of the time a gate is all but open, or all but shut."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.states import Quantity

GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "r": "reset gate", "z": "update gate"}
"""The quantities that are gates, between 0 and 1, by the name that cells give them."""

OPEN, SHUT = 0.9, 0.1


class Saturation(NamedTuple):
    """How the units of one gate spend their time.

    Attributes:
        open: `[H]` the share of places at which each unit is above 0.9.
        shut: `[H]` the share at which it is below 0.1.
    """

    open: np.ndarray
    shut: np.ndarray


def saturation(values: Mapping[Quantity, np.ndarray]) -> Mapping[Quantity, Saturation]:
    """Measure how saturated every gate is.

    Args:
        values: `[N, H]` each, what the units did over a text.

    Returns:
        For each gate of each layer, its units' shares; nothing where the cell has no gates.

    References:
        A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and Understanding Recurrent Networks", arXiv:1506.02078,
        section 4.2 (the same thresholds).

    Example:
        >>> seen = {Quantity(1, "f"): np.array([[0.95, 0.5], [0.99, 0.05]])}
        >>> {str(gate): share.open.tolist() for gate, share in saturation(seen).items()}
        {"Quantity(layer=1, name='f')": [1.0, 0.0]}
    """
    return {
        quantity: Saturation((seen > OPEN).mean(axis=0), (seen < SHUT).mean(axis=0))
        for quantity, seen in values.items()
        if quantity.name in GATES
    }
