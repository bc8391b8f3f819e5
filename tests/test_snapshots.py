"""Snapshots bring back every leaf bit for bit, refuse what does not fit, and always leave a good one to go on from."""

import random
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import folders
from jaxrnn.errors import InputError
from jaxrnn.snapshots import ARRAYS, META, SnapshotWarning, load, load_meta, newest, prune, save, verify

pytestmark = pytest.mark.usefixtures("unflushed")


class Training(NamedTuple):
    """A state with every sort of leaf."""

    step: Any
    params: Any
    carry: Any
    keys: Any
    rest: Any


def training():
    odd = np.random.default_rng(0).integers(0, 2**32, 12, dtype=np.uint32)
    odd[:4] = 0x80000000, 0x7F800000, 0xFFC00001, 0x7FA00000  # -0, infinity, a NaN with a payload, a signalling NaN
    return Training(
        step=jnp.int32(7),
        params={
            "w_hh": jnp.array(odd.view(np.float32).reshape(3, 4)),
            "w": {"a.b": jnp.float64(1 / 3), "a": {"b": jnp.array(odd.view(jnp.bfloat16))}},
            "empty": jnp.zeros((0, 3), jnp.float16),
            "eight": jnp.arange(5).astype(jnp.float8_e4m3fn),
        },
        carry=(jnp.array([True, False]), (jnp.zeros((), jnp.bfloat16), jnp.complex64(1 - 2j)), []),
        keys={
            "one": jax.random.key(3),
            "rows": jax.random.split(jax.random.key(4, impl="rbg"), 2),
            "none": jax.random.split(jax.random.key(5), 1)[:0],
            "old": jax.random.PRNGKey(6),
        },
        rest=[np.arange(3, dtype=np.uint8), np.array(1 + 2j), np.float64(0.1), np.float16(2), 3, -0.0, True, 1j],
    )


def bits(leaf):
    """Type, dtype, shape and every bit of a leaf."""
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return type(leaf), str(getattr(leaf, "dtype", None)), np.shape(leaf), array.tobytes()


def assert_equal_bits(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    assert [bits(leaf) for leaf in jax.tree.leaves(tree)] == [bits(leaf) for leaf in jax.tree.leaves(expected)]


# Saving and loading


def test_every_leaf_comes_back_bit_for_bit(tmp_path):
    state, meta = training(), {"cursor": {"epoch": 2, "chunk": 17}, "best": 1.1, "worst": float("inf"), "note": "ä"}
    folder = save(tmp_path / "runs" / "a" / "step_7", state, meta)
    zeros = jax.tree.map(lambda leaf: np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else leaf, state)
    loaded, loaded_meta = load(folder, zeros)
    assert_equal_bits(loaded, state)
    assert loaded_meta == load_meta(folder) == meta
    assert verify(folder)


def test_abstract_leaves_are_enough_to_load(tmp_path):
    state = training()._replace(rest=None)
    folder = save(tmp_path / "step_1", state, {})
    assert_equal_bits(load(folder, jax.eval_shape(lambda: state))[0], state)


def test_memory_layout_is_no_part_of_a_value(tmp_path):
    table = np.arange(12.0).reshape(3, 4)
    state = [
        np.asfortranarray(table),
        table.T,
        table[::2, ::-1],
        table.astype(">f4"),
        np.broadcast_to(table[0], (2, 4)),
    ]
    for loaded, saved in zip(load(save(tmp_path / "a", state, {}), state)[0], state, strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_equal_states_give_equal_files(tmp_path):
    first, second = (save(tmp_path / name, training(), {"epoch": 1}) for name in "ab")
    assert folders.read(first) == folders.read(second)


def test_what_was_loaded_can_be_donated(tmp_path):
    state = {"w": jnp.arange(1000.0), "key": jax.random.key(1)}
    loaded, _ = load(save(tmp_path / "a", state, {}), state)
    update = jax.jit(lambda s: {"w": s["w"] + 1, "key": jax.random.split(s["key"])[0]}, donate_argnums=0)
    assert_equal_bits(update(loaded), update(state))
    assert verify(tmp_path / "a")


def test_a_leaf_goes_back_to_the_device_it_is_committed_to(tmp_path):
    state = {"here": jax.device_put(jnp.ones(2), jax.devices()[0]), "anywhere": jnp.ones(2)}
    loaded, _ = load(save(tmp_path / "a", state, {}), state)
    assert loaded["here"].committed and loaded["here"].sharding == state["here"].sharding
    assert not loaded["anywhere"].committed


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.zeros((2, 4)), "n": 1}, r"state\['w'\]: expected float64 \[2, 4\], found float64 \[2, 3\] \(1 of 2"),
        ({"w": jnp.zeros((2, 3), jnp.float32), "n": 1}, r"state\['w'\]: expected float32 \[2, 3\], found float64"),
        ({"w": jnp.zeros((2, 3)), "n": 1.0}, r"state\['n'\]: expected float64 \[\], found int64 \[\]"),
        ({"w": jnp.zeros((2, 3))}, r"state\['n'\]: expected nothing, found int64 \[\]"),
        ({"w": jnp.zeros((2, 3)), "n": 1, "m": 2}, r"state\['m'\]: expected int64 \[\], found nothing"),
        ({"w": jax.random.key(0), "n": 1}, r"state\['w'\]: expected key<fry> \[\], found float64"),
        ([jnp.zeros((2, 3)), 1], r"state\[0\]: expected float64 \[2, 3\], found nothing \(4 of 4 leaves differ\)"),
    ],
)
def test_a_snapshot_of_something_else_is_refused_by_the_leaf(tmp_path, like, message):
    folder = save(tmp_path / "step_1", {"w": jnp.zeros((2, 3)), "n": 5}, {})
    with pytest.raises(InputError, match=rf"^{folder}: {message}.*set up model and optimizer as they were"):
        load(folder, like)


def test_a_newer_format_is_refused_but_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FORMAT", folders.FORMAT + 1)
    folder = save(tmp_path / "step_1", {"w": jnp.zeros(2)}, {})
    monkeypatch.undo()
    with pytest.raises(InputError, match=rf"{folder}: written in format 2, this jaxrnn reads up to 1: upgrade jaxrnn"):
        load(folder, {"w": jnp.zeros(2)})
    assert verify(folder) and newest(tmp_path) == folder


@pytest.mark.parametrize("name", [ARRAYS, META, folders.MANIFEST])
def test_damage_is_refused_and_never_an_exception_of_verify(tmp_path, name):
    state = {"w": jnp.arange(20.0), "key": jax.random.key(1)}
    folder = save(tmp_path / "step_1", state, {"epoch": 3})
    good, draw = (folder / name).read_bytes(), random.Random(0)
    flips = [(draw.randrange(len(good)), 1 << draw.randrange(8)) for _ in range(200)]
    flipped = [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
    for bad in [*flipped, *(good[:length] for length in (0, 1, len(good) // 2, len(good) - 1)), good + b" ", None]:
        (folder / name).unlink()
        if bad is not None:
            (folder / name).write_bytes(bad)
        assert verify(folder) is False
        for use in (load_meta, lambda folder: load(folder, state)):
            with pytest.raises(InputError, match=f"{folder}: damaged: {name} .*; restore it or use an older one"):
                use(folder)
        (folder / name).write_bytes(good)
        assert verify(folder) is True
    for missing in (tmp_path / "absent", folder / META, tmp_path):
        assert verify(missing) is False


@pytest.mark.parametrize(
    ("state", "meta", "message"),
    [
        ({"w": jnp.ones(1), "name": "lstm"}, {}, r"state\['name'\]: str is no array of numbers; text .* in meta"),
        ({"f": object()}, {}, r"state\['f'\]: object is no array"),
        ({"n": 2**70}, {}, r"state\['n'\]: int is no array"),
        ({}, {"w": jnp.ones(1)}, "meta: .* not JSON serializable; give only what JSON can hold"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, state, meta, message):
    with pytest.raises(InputError, match=message):
        save(tmp_path / "new" / "step_1", state, meta)
    assert not (tmp_path / "new").exists()


# Many snapshots


def saved(parent, *names):
    return [save(parent / name, {"n": np.array(int(name.split("_")[1]))}, {}) for name in names]


def damage(folder, name=ARRAYS):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)


def listing(parent):
    return {path.name for path in parent.iterdir()}


def test_the_newest_is_the_one_of_the_highest_number_of_its_kind(tmp_path):
    assert newest(tmp_path / "absent") is None and newest(tmp_path) is None
    saved(tmp_path, "step_9", "step_10", "best_8", "best_11")
    for stranger in ("step_x", "step_12.tmp-1", "12", "step_-13", "step_14.damaged"):
        (tmp_path / stranger).mkdir()
    (tmp_path / "latest_1.txt").touch()
    assert newest(tmp_path) == tmp_path / "step_10"
    assert newest(tmp_path, kind="best") == tmp_path / "best_11"


def test_a_damaged_snapshot_is_put_aside_with_a_warning_and_the_next_older_one_taken(tmp_path):
    saved(tmp_path, "step_1", "step_2", "step_3")
    damage(tmp_path / "step_3")
    damage(tmp_path / "step_2", folders.MANIFEST)
    with pytest.warns(SnapshotWarning) as caught:
        assert newest(tmp_path) == tmp_path / "step_1"
    assert len(caught) == 2
    assert "step_3: damaged: arrays.safetensors does not match" in str(caught[0].message)
    assert "renamed to step_2.damaged; an older snapshot is tried" in str(caught[1].message)
    assert listing(tmp_path) == {"step_1", "step_2.damaged", "step_3.damaged"}
    assert newest(tmp_path) == tmp_path / "step_1"  # and no second warning


def test_where_every_snapshot_is_damaged_there_is_none(tmp_path):
    for name in ("step_1.damaged", "step_1.damaged-2"):
        (tmp_path / name).mkdir()
    damage(*saved(tmp_path, "step_1"))
    with pytest.warns(SnapshotWarning, match="renamed to step_1.damaged-3"):
        assert newest(tmp_path) is None


def test_an_unreadable_snapshot_is_passed_over_but_stays(tmp_path):
    saved(tmp_path, "step_1", "step_2")
    (tmp_path / "step_2" / META).unlink()
    (tmp_path / "step_2" / META).mkdir()
    with pytest.warns(SnapshotWarning, match=r"step_2: cannot be read \(Is a directory.*left as it is"):
        assert newest(tmp_path) == tmp_path / "step_1"
    assert listing(tmp_path) == {"step_1", "step_2"}


def test_a_snapshot_that_is_just_being_replaced_still_counts(tmp_path):
    (folder,) = saved(tmp_path, "best_4")
    folder.rename(tmp_path / "best_4.old-1")
    assert newest(tmp_path, "best") == tmp_path / "best_4.old-1"
    saved(tmp_path, "best_4")
    assert newest(tmp_path, "best") == folder


def test_pruning_keeps_the_newest_of_a_kind(tmp_path):
    folders = saved(tmp_path, "step_8", "step_9", "step_10", "step_11", "best_1")
    assert prune(tmp_path, 2) == [folders[1], folders[0]]
    assert listing(tmp_path) == {"step_10", "step_11", "best_1"}
    assert prune(tmp_path, 5) == []
    with pytest.raises(InputError, match="keep: 0 snapshots would leave nothing"):
        prune(tmp_path, 0)


def test_pruning_never_removes_the_last_good_one(tmp_path):
    saved(tmp_path, "step_1", "step_2", "step_3", "step_4", "step_5")
    for name in ("step_3", "step_4", "step_5"):
        damage(tmp_path / name)
    assert prune(tmp_path, 1) == [tmp_path / name for name in ("step_4", "step_3", "step_1")]
    assert listing(tmp_path) == {"step_2", "step_5"}
    damage(tmp_path / "step_2")
    assert prune(tmp_path, 1) == []
    assert listing(tmp_path) == {"step_2", "step_5"}


def test_pruning_clears_what_a_dead_process_left(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (folder,) = saved(tmp_path, "step_4")
    folder.rename(tmp_path / f"step_4.old-{dead.pid}")
    (tmp_path / f"step_4.tmp-{dead.pid}").mkdir()
    assert prune(tmp_path, 1) == []
    assert listing(tmp_path) == {"step_4"} and verify(folder)


KILLS = """
import os, random, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from jaxrnn.snapshots import load, newest, prune, save

warnings.simplefilter("error")
warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
random.seed(0)
parent, like, last = Path(sys.argv[1]), {"n": np.zeros(4000, int)}, {"step": 0, "best": 0}
for _ in range(25):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        for n in range(last["step"] + 1, 10**9):
            for kind in ("step", "best"):
                save(parent / f"{kind}_{n}", {"n": np.full(4000, n)}, {"n": n})
                save(parent / f"{kind}_{n}", {"n": np.full(4000, n)}, {"n": n})
                os.write(writer, f"{kind} {n}\\n".encode())
                prune(parent, 1, kind)
    os.close(writer)
    with open(reader) as told:
        first = told.readline()
        time.sleep(random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        for line in [first, *told]:
            kind, n = line.split()
            last[kind] = int(n)
    for kind in ("best", "step"):
        folder = newest(parent, kind)
        n = int(folder.name.split("_")[1].split(".")[0]) if folder else 0
        assert last[kind] <= n <= last["step"] + 1, (kind, last, n)
        if folder:
            state, meta = load(folder, like)
            assert (state["n"] == n).all() and meta == {"n": n}
print("killed, last at", last["step"])
"""


def test_a_killed_process_loses_at_most_the_snapshot_it_was_writing(tmp_path):
    finished = subprocess.run([sys.executable, "-c", KILLS, tmp_path], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    done = int(finished.stdout.removeprefix("killed, last at "))
    assert done >= 25
    prune(tmp_path, 1)
    assert all("tmp" not in name and "old" not in name for name in listing(tmp_path))


def test_a_snapshot_that_is_pruned_while_it_is_read_is_no_fault(tmp_path, monkeypatch):
    """A warning would be an error here."""
    save(tmp_path / "best_1", {"x": np.zeros(1)}, {})
    read = folders.read

    def slowly(folder):
        if folder.name == "best_1":
            folders.remove(folder)
            save(tmp_path / "best_2", {"x": np.ones(1)}, {})
        return read(folder)

    monkeypatch.setattr(folders, "read", slowly)
    assert newest(tmp_path, "best") == tmp_path / "best_2"
