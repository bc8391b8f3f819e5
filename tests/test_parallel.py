"""What needs several devices runs in a process of its own that has them: on_eight_devices.py."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxrnn.cells import elman
from jaxrnn.errors import InputError
from jaxrnn.gradients import bptt
from jaxrnn.losses import squared_error
from jaxrnn.mesh import data_mesh
from jaxrnn.parallel import check_rows, data_parallel, row_specs


def test_on_eight_devices():
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "on_eight_devices.py"]
    said = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_one_device_is_the_estimator_itself():
    estimator = bptt(elman(3, 4), squared_error)
    assert data_parallel(estimator, data_mesh(1)) is estimator


@pytest.mark.parametrize(("rows", "devices", "named"), [(10, 4, "8 or 12"), (2, 4, "such as 4"), (1, 2, "such as 2")])
def test_rows_that_cannot_be_split_evenly_are_refused(rows, devices, named):
    with pytest.raises(InputError, match=named):
        check_rows(rows, devices)


def test_rows_are_found_by_what_is_shorter_for_fewer_rows():
    """Not by a size that happens to be the number of rows."""

    def shapes(rows):
        return {"square": (4, rows), "first": (rows, 4), "shared": (4, 4), "count": ()}

    whole, part = ({name: np.zeros(shape) for name, shape in shapes(rows).items()} for rows in (4, 2))
    found = {name: tuple(spec) for name, spec in row_specs(whole, part).items()}
    assert found == {"square": (None, "data"), "first": ("data",), "shared": (), "count": ()}
