"""A gradient by way of the disk is that of full BPTT, and comes to the same bits wherever it is interrupted."""

import gc
import multiprocessing
import os
import signal
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, plain, random_like, random_params
from jaxrnn import snapshots
from jaxrnn.cells import elman
from jaxrnn.compose import dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.folders import Damaged
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import squared_error
from jaxrnn.spooled import spooled_bptt

ROWS, LENGTHS = 2, (3, 3, 3, 2)  # the last chunk is shorter
NUMBER, STEPS = len(LENGTHS), sum(LENGTHS)
CELL = stack(elman(2, 4), dropout(0.4))
PARAMS = random_params(0, CELL)
CARRY = random_like(1, CELL.initial_carry(ROWS, jax.random.key(2)))
WHOLE = random_like(3, Chunk(*(np.zeros((STEPS, ROWS, n)) for n in (2, 4)), np.zeros((STEPS, ROWS))))
PARTS = [jax.tree.map(lambda a, i=i: a[3 * i : 3 * i + 3], WHOLE) for i in range(NUMBER)]
ESTIMATE = spooled_bptt(CELL, squared_error)


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(autouse=True)
def _unflushed(unflushed):
    """Nothing here waits for the disk."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return ESTIMATE(PARAMS, CARRY, PARTS.__getitem__, NUMBER, tmp_path_factory.mktemp("spool"))


def assert_same_bits(actual, expected):
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert plain(a).tobytes() == plain(b).tobytes()


@pytest.mark.parametrize("segment_length", [None, 2])
def test_it_is_the_gradient_of_full_bptt(tmp_path, segment_length, uninterrupted):
    """With noise that is drawn once for the whole sequence, and the same carry at the end."""
    rule = bptt(CELL, squared_error)
    exact, state = jax.jit(rule.estimate)(PARAMS, rule.init(None, PARAMS, CARRY, WHOLE), WHOLE)
    found = uninterrupted
    if segment_length:
        cut = spooled_bptt(CELL, squared_error, segment_length=segment_length)
        found = cut(PARAMS, CARRY, PARTS.__getitem__, NUMBER, tmp_path)
    assert_close(found, (exact, state.carry))


@pytest.mark.parametrize("moment", ["read", "saved"])
def test_killed_at_any_chunk_of_either_pass_it_comes_to_the_same_bits(tmp_path, monkeypatch, uninterrupted, moment):
    """Each try dies at its second reading of a chunk, or right after it has saved something."""
    save, calls, resumed = snapshots.save, [0], 0

    def dying_read(n):
        calls[0] += moment == "read"
        if calls[0] > 2:
            raise Killed  # the first reading tells the shapes
        return PARTS[n]

    def dying_save(*arguments):
        save(*arguments)
        if moment == "saved":
            raise Killed

    monkeypatch.setattr(snapshots, "save", dying_save)
    while True:
        calls[0] = 0
        try:
            found = ESTIMATE(PARAMS, CARRY, dying_read, NUMBER, tmp_path)
        except Killed:
            resumed += 1
        else:
            break
    assert resumed == 2 * NUMBER - 1 + 2 * (moment == "saved")
    assert_same_bits(found, uninterrupted)


def _until_killed(folder, chunk):
    def read(n):
        if n == chunk and (folder / f"credit_{NUMBER - 1 - n}").exists():  # in the backward pass
            os.kill(os.getpid(), signal.SIGKILL)
        return PARTS[n]

    ESTIMATE(PARAMS, CARRY, read, NUMBER, folder)


def test_a_process_that_was_killed_is_gone_on_from(tmp_path, monkeypatch, uninterrupted):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")  # as here
    process = multiprocessing.get_context("spawn").Process(target=_until_killed, args=(tmp_path, 1))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert snapshots.newest(tmp_path, "credit") == tmp_path / "credit_2"
    seen = []
    found = ESTIMATE(PARAMS, CARRY, lambda n: (seen.append(n), PARTS[n])[1], NUMBER, tmp_path)
    assert seen == [0, 1, 0]  # for the shapes, and what was left
    assert_same_bits(found, uninterrupted)


@pytest.fixture
def spooled(tmp_path):
    """The folder of a gradient that is done."""
    ESTIMATE(PARAMS, CARRY, PARTS.__getitem__, NUMBER, tmp_path)
    return tmp_path


def damage(folder):
    file = folder / snapshots.ARRAYS
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")


def test_damaged_progress_is_left_aside(spooled, uninterrupted):
    damage(spooled / f"credit_{NUMBER}")
    damage(spooled / f"carry_{NUMBER}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = ESTIMATE(PARAMS, CARRY, PARTS.__getitem__, NUMBER, spooled)
    assert [f"{kind}_{NUMBER}" in str(w.message) for kind, w in zip(("carry", "credit"), said, strict=True)] == [
        True
    ] * 2
    assert_same_bits(found, uninterrupted)


def test_a_damaged_carry_is_never_used(spooled):
    snapshots.prune(spooled, keep=1, kind="credit")
    damage(spooled / f"credit_{NUMBER}")
    damage(spooled / "carry_1")
    with pytest.warns(snapshots.SnapshotWarning), pytest.raises(Damaged, match="carry_1"):
        ESTIMATE(PARAMS, CARRY, PARTS.__getitem__, NUMBER, spooled)


@pytest.mark.parametrize("kind", ["float64 of NumPy", "weakly typed whole numbers"])
def test_a_carry_in_other_dtypes_than_the_cell_gives_it(tmp_path, default_settings, kind):
    cell = elman(2, 4)
    params, whole = cell.init(jax.random.key(0)), jax.tree.map(np.float32, WHOLE)
    carry = np.zeros((ROWS, 4)) if kind == "float64 of NumPy" else jnp.full((ROWS, 4), 0)
    parts = [jax.tree.map(lambda a, i=i: a[3 * i : 3 * i + 3], whole) for i in range(NUMBER)]
    found = spooled_bptt(cell, squared_error)(params, carry, parts.__getitem__, NUMBER, tmp_path)
    rule = bptt(cell, squared_error)
    exact, state = rule.estimate(params, rule.init(None, params, cell.initial_carry(ROWS), whole), whole)
    assert_close(found, (exact, state.carry), tolerance=1e-5)


@pytest.mark.parametrize("changed", ["params", "carry", "number"])
def test_the_spool_of_another_gradient_is_refused(spooled, changed):
    now = {"params": PARAMS, "carry": CARRY, "read": PARTS.__getitem__, "number": NUMBER}
    now[changed] = NUMBER - 1 if changed == "number" else jax.tree.map(lambda a: a, random_like(9, now[changed]))
    with pytest.raises(InputError, match="begun with other parameters"):
        ESTIMATE(*now.values(), spooled)


def test_a_chunk_that_has_changed_meanwhile_is_refused(spooled):
    snapshots.folders.remove(spooled / f"credit_{NUMBER}")
    changed = [*PARTS[:2], PARTS[2]._replace(weight=PARTS[2].weight + 1), PARTS[3]]
    with pytest.raises(InputError, match=r"read\(2\) gives another chunk"):
        ESTIMATE(PARAMS, CARRY, changed.__getitem__, NUMBER, spooled)


@pytest.mark.parametrize("n", [0, NUMBER - 1])
def test_a_finished_spool_is_not_the_answer_for_other_data(spooled, n):
    changed = [*PARTS]
    changed[n] = PARTS[n]._replace(weight=PARTS[n].weight + 1)
    with pytest.raises(InputError, match=rf"read\({n}\) gives another chunk"):
        ESTIMATE(PARAMS, CARRY, changed.__getitem__, NUMBER, spooled)


OTHERS = {
    "loss": spooled_bptt(CELL, lambda outputs, targets: 2 * squared_error(outputs, targets)),
    "cell": spooled_bptt(stack(elman(2, 4, activation=jax.nn.relu), dropout(0.4)), squared_error),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_finished_spool_is_not_the_answer_for_another_program(spooled, other):
    with pytest.raises(InputError, match="begun with other parameters, another carry, cell, loss or number of chunks"):
        OTHERS[other](PARAMS, CARRY, PARTS.__getitem__, NUMBER, spooled)


def test_it_goes_on_with_other_segments(spooled, uninterrupted):
    """As where the backward pass took more memory than there was."""
    snapshots.folders.remove(spooled / f"credit_{NUMBER}")
    cut = spooled_bptt(CELL, squared_error, segment_length=2)
    assert_close(cut(PARAMS, CARRY, PARTS.__getitem__, NUMBER, spooled), uninterrupted)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(InputError, match="segment_length is 0"):
        spooled_bptt(CELL, squared_error, segment_length=0)
    with pytest.raises(InputError, match="number is 0"):
        ESTIMATE(PARAMS, CARRY, PARTS.__getitem__, 0, tmp_path)


def test_one_chunk_is_there_at_a_time(tmp_path):
    """They may be large: each has gone before the next is read."""
    seen = []

    def read(n):
        gc.collect()
        assert [number for number, array in seen if array() is not None] == []
        chunk = jax.tree.map(np.array, PARTS[n])
        seen.extend((n, weakref.ref(leaf)) for leaf in chunk)
        return chunk

    ESTIMATE(PARAMS, CARRY, read, NUMBER, tmp_path)
    assert len(seen) == 3 * (1 + 2 * NUMBER)
