"""Devices in a row. What several of them do is in `on_eight_devices.py`, which needs a process with so many."""

import numpy as np
import pytest

from jaxrnn.errors import InputError
from jaxrnn.mesh import data_mesh, own_rows, put_rows


def test_too_many_devices_are_refused():
    with pytest.raises(InputError, match="number is 1000"):
        data_mesh(1000)


def test_one_process_feeds_all_rows():
    rows = np.arange(12).reshape(2, 6)
    assert own_rows(6) == slice(0, 6)
    np.testing.assert_array_equal(put_rows(data_mesh(1), rows, axis=1), rows)
