"""The text view: a passage with what each of many units did at every symbol, small enough for a page."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.analysis.gates import GATES
from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.states import STATES, Quantity, States
from jaxrnn.analysis.units import Unit

_STEPS = 127


class TextView(NamedTuple):
    """A passage of P symbols and the values of W units.

    Attributes:
        pieces: the text of each symbol.
        units: the units, in the order of the rows of `levels`.
        centres: `[W]` the value of each unit that is neutral: 0 for outputs, which lie around it, 0.5 for gates,
            the unit's own median for contents, which may lie anywhere.
        scales: `[W]` how far from it the farthest value is.
        levels: `[W, P]` uint8, the value in steps: `centre + scale * (level - 127) / 127`.
        nats: `[P]` what each symbol cost to predict.
        left_out: the quantities of which not all units had room.
    """

    pieces: tuple[str, ...]
    units: tuple[Unit, ...]
    centres: np.ndarray
    scales: np.ndarray
    levels: np.ndarray
    nats: np.ndarray
    left_out: tuple[Quantity, ...]


def lively_passage(labels: Labels, length: int, starts: np.ndarray) -> int:
    """Find the passage in which the labels change most, each counted by how rare its changes are.

    Args:
        labels: `[N]` each; floats are not looked at.
        length: of the passage.
        starts: where it may begin, such as the starts of lines.

    Returns:
        One of the starts.

    Example:
        >>> lively_passage({"a": np.array([0, 0, 0, 1, 0, 1], bool)}, 3, np.array([0, 3]))
        3
    """
    truths = [label for label in labels.values() if label.dtype == bool]
    if not truths or not len(starts):
        return int(starts[0]) if len(starts) else 0
    count = len(truths[0])
    changes = [np.cumsum(np.append(0, label[1:] != label[:-1])) for label in truths]
    starts = starts[starts + length <= count] if np.any(starts + length <= count) else starts[:1]
    ends = np.minimum(starts + length, count) - 1
    shares = [(change[ends] - change[starts]) / max(change[-1], 1) for change in changes]
    return int(starts[np.argmax(sum(np.minimum(share, 3 * length / count) for share in shares))])


def view(
    states: States,
    pieces: Sequence[str],
    found: Iterable[Unit],
    start: int,
    length: int,
    *,
    room: int = 2_400_000,
) -> TextView:
    """Cut a passage out of a text with what units did there.

    Args:
        states: what all units did at N places.
        pieces: the text of the N symbols.
        found: units that must be in it: those of the rankings.
        start: the passage's first symbol.
        length: how many symbols it has.
        room: bytes for the levels. All units of h come in where there is room for the whole of them, layer by layer,
            then those of c, then of gates and candidates; where there is none and nothing was found, the first units
            of h.

    Returns:
        The view.
    """
    stop = min(start + length, len(pieces))
    wanted = dict.fromkeys(found)
    left_out = []
    in_order = sorted(states.values, key=lambda quantity: (_place(quantity), quantity.layer))
    for quantity in in_order:
        units = [Unit(*quantity, number) for number in range(states.values[quantity].shape[1])]
        if (len(wanted | dict.fromkeys(units))) * (stop - start) <= room:
            wanted |= dict.fromkeys(units)
        else:
            left_out.append(quantity)
    units = tuple(sorted(wanted)) or tuple(Unit(*in_order[0], number) for number in range(room // (stop - start)))
    values = np.stack([states.values[Quantity(unit.layer, unit.name)][start:stop, unit.number] for unit in units])
    medians = np.median(values, axis=1)
    centres = np.array([_neutral(unit, median) for unit, median in zip(units, medians.tolist(), strict=True)])
    scales = np.array([0.5 if unit.name in GATES else 0.0 for unit in units])
    scales = np.maximum(scales, np.abs(values - centres[:, None]).max(axis=1))
    safe = np.where(scales > 0, scales, 1.0)
    levels = np.rint(_STEPS + _STEPS * (values - centres[:, None]) / safe[:, None]).astype(np.uint8)
    return TextView(tuple(pieces[start:stop]), units, centres, scales, levels, states.nats[start:stop], tuple(left_out))


def view_json(shown: TextView) -> Mapping[str, Any]:
    """A view as the page reads it.

    Args:
        shown: the view.

    Returns:
        What JSON can hold: `levels` in base64, row after row.
    """
    return {
        "pieces": list(shown.pieces),
        "units": [[unit.layer, unit.name, unit.number] for unit in shown.units],
        "centres": [round(float(value), 4) for value in shown.centres],
        "scales": [float(f"{value:.5g}") for value in shown.scales],
        "levels": base64.b64encode(shown.levels.tobytes()).decode(),
        "nats": [round(float(value), 3) for value in shown.nats],
    }


def _neutral(unit: Unit, median: float) -> float:
    """The value of a unit that is neither high nor low."""
    return 0.5 if unit.name in GATES else median if unit.name == "c" else 0.0


def _place(quantity: Quantity) -> int:
    """The states first, then the gates, then the rest."""
    if quantity.name in STATES:  # of all units, where there is room
        return STATES.index(quantity.name)
    return 2 if quantity.name in GATES else 3
