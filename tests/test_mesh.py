"""Devices in a row. What several of them do is in `on_eight_devices.py`, which needs a process with so many."""

import numpy as np
import pytest

from jaxrnn.errors import InputError
from jaxrnn.mesh import _as_many_of_each, data_mesh, put_rows

UNEQUAL = [(1, 10), (0, 3), (1, 11), (0, 2), (0, 4)]
"""The process and the number of each device: one process has three, the other two."""


@pytest.mark.parametrize(
    ("number", "chosen"),
    [
        (None, [(0, 2), (0, 3), (1, 10), (1, 11)]),
        (4, [(0, 2), (0, 3), (1, 10), (1, 11)]),
        (2, [(0, 2), (1, 10)]),
    ],
)
def test_each_process_gives_as_many_devices_as_the_smallest_has(number, chosen):
    assert _as_many_of_each(UNEQUAL, number) == chosen


@pytest.mark.parametrize("number", [6, 5, 3, 0])
def test_more_than_the_smallest_process_has_is_refused(number):
    expected = "a multiple of 2, the number of processes, and at most 4: 2 of each"
    with pytest.raises(InputError, match=f"data_mesh: number is {number}; it must be {expected}"):
        _as_many_of_each(UNEQUAL, number)


def test_one_device_has_all_rows():
    rows = np.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(put_rows(data_mesh(1), rows, axis=1), rows)
