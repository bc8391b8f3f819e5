"""How many devices a run has, before JAX has made any."""

from types import SimpleNamespace

import jax
import pytest

from jaxrnn.config import Config, Data, Machine, Parallel
from jaxrnn.errors import InputError
from jaxrnn.running import devices
from jaxrnn.running.devices import choose_mesh, cores_pay, devices_of


@pytest.mark.parametrize(
    ("cores", "rows", "processes", "asked", "expected"),
    [
        (8, 64, None, None, 8),
        (8, 20, None, None, 5),  # as many as divide the rows
        (8, 64, 2, None, 4),  # processes share the cores
        (16, 64, 4, None, 4),
        (2, 64, 4, None, 1),
        (8, 64, None, 3, 3),  # what is asked for is all processes' together
        (8, 64, 2, 6, 3),
        (8, 64, 4, 2, 1),
    ],
)
def test_a_process_has_its_part_of_the_cores(cores, rows, processes, asked, expected):
    config = Config(data=Data(batch_size=rows), parallel=Parallel(processes=processes, devices=asked))
    assert devices_of(cores, config) == expected


def test_unlike_processes_share_the_rows_evenly(monkeypatch):
    """Two of them; the smaller one has three devices."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(devices, "data_mesh", lambda number=6: SimpleNamespace(size=number))

    def size(asked=None):
        return choose_mesh(Config(data=Data(batch_size=8), parallel=Parallel(devices=asked))).size

    assert (size(), size(2), size(4)) == (4, 2, 4)
    expected = "a multiple of 2, the number of processes, and at most 6"
    for asked in (1, 8):
        with pytest.raises(InputError, match=f"parallel.devices is {asked}; it must be {expected}"):
            size(asked)


def test_cores_pay_where_steps_are_many_beside_the_parameters():
    assert cores_pay(10_000, 1) and cores_pay(70_000, 784) and not cores_pay(10_001, 1)


@pytest.mark.parametrize("keep", [True, False])
def test_one_device_has_its_buffers_kept_as_the_configuration_says(keep, monkeypatch):
    settled = []
    monkeypatch.setattr(devices, "keep_buffers", lambda: settled.append("buffers"))
    monkeypatch.setattr(jax.config, "update", lambda name, value: settled.append((name, value)))
    devices.prepare_one(Machine(keep_buffers=keep, compilation_cache="off"))
    assert settled == ["buffers"] * keep + [("jax_cpu_enable_async_dispatch", False)]
