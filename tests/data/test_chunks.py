"""Contiguous streams: every target once, rows that go on from chunk to chunk, and an account that adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.chunks import Streams, account, make_streams, number_of_chunks, read, rows
from jaxrnn.errors import InputError

STREAMS = st.builds(
    lambda length, batch_size, chunk_length, drop_tail: Streams(
        np.random.default_rng(length).integers(0, 200, length).astype(np.uint8), batch_size, chunk_length, drop_tail
    ),
    length=st.integers(2, 60),
    batch_size=st.integers(1, 9),
    chunk_length=st.integers(1, 9),
    drop_tail=st.booleans(),
)


def epoch(streams):
    """All chunks of an epoch, one after another in time: inputs, targets, weight `[chunks * K, B]`."""
    chunks = [read(streams, index) for index in range(number_of_chunks(streams))]
    return tuple(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)) if chunks else None


@given(STREAMS)
def test_the_account_adds_up(streams):
    counted = account(streams)
    assert counted.targets + counted.dropped == counted.ids - 1 == len(streams.ids) - 1
    assert counted.targets + counted.padded == counted.chunks * streams.chunk_length * streams.batch_size
    assert counted.dropped == ((counted.ids - 1) % streams.batch_size if streams.drop_tail else 0)
    _, _, weight = epoch(streams) or (None, None, np.zeros(0))
    assert weight.sum() == counted.targets


@given(STREAMS)
def test_every_id_but_the_dropped_is_predicted_once_after_its_predecessor(streams):
    numbered = streams._replace(ids=np.arange(len(streams.ids)))
    if (arrays := epoch(numbered)) is None:
        return
    inputs, targets, weight = arrays
    seen = weight == 1
    assert sorted(targets[seen]) == list(range(1, account(streams).targets + 1))
    assert (targets[seen] == inputs[seen] + 1).all()
    assert not inputs[~seen].any() and not targets[~seen].any() and set(np.unique(weight)) <= {0, 1}


@given(STREAMS)
def test_rows_are_the_text_one_after_another(streams):
    if (arrays := epoch(streams)) is None:
        return
    inputs, targets, weight = arrays
    text = np.concatenate([row[counted == 1] for row, counted in zip(inputs.T, weight.T, strict=True)])
    assert (text == streams.ids[: len(text)]).all()
    following = np.concatenate([row[counted == 1] for row, counted in zip(targets.T, weight.T, strict=True)])
    assert (following == streams.ids[1 : len(text) + 1]).all()
    assert (np.diff(weight, axis=0) <= 0).all(), "padding comes last"


@given(STREAMS)
def test_a_chunk_has_one_shape_and_type_and_shares_nothing_with_the_text(streams):
    for index in range(number_of_chunks(streams)):
        chunk = read(streams, index)
        shape = (streams.chunk_length, streams.batch_size)
        assert [part.shape for part in chunk] == [shape] * 3
        assert [part.dtype.name for part in chunk] == ["int32", "int32", "float32"]
        assert not any(np.shares_memory(part, streams.ids) for part in chunk)


def test_permuting_the_rows_of_the_text_permutes_the_rows_of_chunks():
    rng = np.random.default_rng(0)
    text, order = rng.integers(0, 50, (5, 13)), rng.permutation(5)
    before = Streams(np.append(text.ravel(), 0), 5, 4, drop_tail=True)
    after = Streams(np.append(text[order].ravel(), 0), 5, 4, drop_tail=True)
    inputs, targets, weight = epoch(before)
    permuted_inputs, permuted_targets, permuted_weight = epoch(after)
    assert (permuted_inputs == inputs[:, order]).all() and (permuted_weight == weight[:, order]).all()
    last = np.flatnonzero(weight[:, 0])[-1]  # its target is the next row's first symbol
    assert (permuted_targets[:last] == targets[:last, order]).all()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_laps_read_the_text_as_a_circle(batch_size, chunk_length, more):
    """Against one loop over time: row `i` begins at `i` times a row's length, and goes on over the text's end."""
    size = batch_size * chunk_length + more  # inputs of the text
    streams = make_streams(np.arange(size + 1), batch_size, chunk_length, drop_tail=True)._replace(lap=0)
    length, chunks, t = size // batch_size, size // (batch_size * chunk_length), 0
    for lap in range(4):
        at_lap = streams._replace(lap=lap)
        assert account(at_lap) == (
            size + 1,
            size - (left := size - chunks * chunk_length * batch_size),
            left,
            0,
            chunks,
        )
        for index in range(chunks):
            chunk = read(at_lap, index)
            for k in range(chunk_length):
                at = [(row * length + t) % size for row in range(batch_size)]
                assert chunk.inputs[k].tolist() == at and chunk.targets[k].tolist() == [i + 1 for i in at]
                t += 1
            assert (chunk.weight == 1).all()


def test_rows_differ_by_one_step_at_most_when_nothing_is_dropped():
    starts, lengths = rows(Streams(np.arange(12), 4, 3, drop_tail=False))
    assert lengths.tolist() == [3, 3, 3, 2] and starts.tolist() == [0, 3, 6, 9]


def test_fewer_targets_than_rows():
    few = np.arange(3)
    evaluated = make_streams(few, 5, 4, drop_tail=False)
    assert account(evaluated) == (3, 2, 0, 18, 1)
    assert read(evaluated, 0).weight[0].tolist() == [1, 1, 0, 0, 0]
    dropped = Streams(few, 5, 4, drop_tail=True)
    assert account(dropped) == (3, 0, 2, 0, 0)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_chunk_beyond_the_epoch(index):
    with pytest.raises(IndexError, match="expected 0 to 2"):
        read(Streams(np.arange(21), 2, 4, drop_tail=True), index)


def test_a_memory_map_is_copied(tmp_path):
    np.arange(50, dtype=np.uint16).tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", np.uint16, "r")
    chunk = read(make_streams(mapped, 2, 5, drop_tail=True), 0)
    assert type(chunk.inputs) is np.ndarray and chunk.inputs[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert chunk.inputs.flags.owndata and chunk.targets.flags.owndata


@pytest.mark.parametrize(
    ("symbols", "drop_tail", "message"),
    [
        (20, True, r"train: 20 symbols, shorter than a chunk; .* batch_size 4 x chunk_length 5 \+ 1 = 21: .*smaller"),
        (1, False, "train: 1 symbols, shorter than a chunk; expected at least 2: give a longer text$"),
        (0, True, "train: 0 symbols"),
    ],
)
def test_text_shorter_than_a_chunk(symbols, drop_tail, message):
    with pytest.raises(InputError, match=message):
        make_streams(np.arange(symbols), 4, 5, drop_tail=drop_tail, name="train")


def test_a_text_of_exactly_one_chunk():
    streams = make_streams(np.arange(21), 4, 5, drop_tail=True)
    assert account(streams) == (21, 20, 0, 0, 1)


@pytest.mark.parametrize(("batch_size", "chunk_length"), [(0, 5), (4, 0), (-1, 5)])
def test_sizes_below_one(batch_size, chunk_length):
    with pytest.raises(InputError, match="expected 1 or more"):
        make_streams(np.arange(21), batch_size, chunk_length, drop_tail=True)
