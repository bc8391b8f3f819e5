"""Reading files in blocks: the same text as reading them whole, and errors that say where."""

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import reading
from jaxrnn.data.reading import Document, line_start_after, read, scan
from jaxrnn.data.text import WORD
from jaxrnn.errors import InputError


def written(folder, content: bytes, name="text.txt") -> Document:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return scan(path, name="data.corpus")


@given(text=st.text(alphabet=st.sampled_from("ab \r\né’𝔘\ufeff"), max_size=40), block=st.integers(1, 9))
def test_blocks_of_any_size_give_the_text_of_text_mode(tmp_path_factory, text, block):
    document = written(tmp_path_factory.mktemp("reading"), text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        blocks = list(read([document], "utf-8"))
    assert "".join(blocks) == io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8-sig").read()
    assert all(blocks)


def test_symbols_are_not_torn_between_blocks_and_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 3)
    documents = [written(tmp_path, b"alphabet soup", "a.txt"), written(tmp_path, b"bowl of it", "b.txt")]
    symbols = [symbol for text in read(documents, "utf-8", WORD.cut) for symbol in WORD.split(text)]
    assert symbols == ["alphabet", " ", "soup", "\n", "bowl", " ", "of", " ", "it"]


def test_packed_file_reads_like_the_plain_one(tmp_path):
    content = "Zeile für Zeile\n".encode() * 9
    plain, packed = written(tmp_path, content), written(tmp_path, content, "text.txt.gz")
    assert plain[1:] == packed[1:]
    part = slice(16, 50)
    for document in (plain, packed):
        cut = document._replace(start=part.start, stop=part.stop)
        assert "".join(read([cut], "latin-1")) == content[part].decode("latin-1")


def test_a_file_that_becomes_shorter_is_noticed(tmp_path):
    document = written(tmp_path, b"some text")
    (tmp_path / "text.txt").write_bytes(b"some")
    for encoding in ("utf-8", "latin-1"):
        with pytest.raises(InputError, match="text.txt' became shorter while it was read"):
            list(read([document], encoding))


def test_bytes_are_kept_as_they_are(tmp_path):
    content = b"\xef\xbb\xbfa\r\nb\rc\x00\xff"
    assert "".join(read([written(tmp_path, content)], "latin-1")).encode("latin-1") == content


def test_nul_is_a_character(tmp_path):
    assert "".join(read([written(tmp_path, b"a\x00b")], "utf-8")) == "a\x00b"


@pytest.mark.parametrize("block", [1, 2, 5, 100])
def test_bytes_that_are_not_utf8_are_located(tmp_path, monkeypatch, block):
    document = written(tmp_path, "né".encode() * 4 + b"\xff tail")
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    with pytest.raises(InputError, match=r"text.txt: byte 12 \(0xff\) is not UTF-8 .*--data.tokenizer byte"):
        list(read([document], "utf-8"))


def test_character_cut_off_at_the_end_is_located(tmp_path):
    with pytest.raises(InputError, match=r"byte 2 \(0xe2\)"):
        list(read([written(tmp_path, b"ab\xe2\x82")], "utf-8"))


def test_position_counts_from_the_file_s_start_in_a_part(tmp_path):
    document = written(tmp_path, b"0123456789\xff")
    with pytest.raises(InputError, match="byte 10 "):
        list(read([document._replace(start=4)], "utf-8"))


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-9], lambda raw: b"plain text", lambda raw: raw[:20] + b"!" + raw[21:]]
)
def test_damaged_gzip_is_named(tmp_path, spoil):
    path = tmp_path / "text.gz"
    path.write_bytes(spoil(gzip.compress(bytes(range(256)) * 20)))
    with pytest.raises(InputError, match="data.corpus: .*text.gz' is not a whole gzip file"):
        scan(path, name="data.corpus")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="data.valid: cannot read .*nowhere.txt.*No such file"):
        scan(tmp_path / "nowhere.txt", name="data.valid")


def test_a_file_is_cut_at_a_line_if_one_is_near_else_between_characters(tmp_path):
    path = written(tmp_path, "aaaa\nbbbb\né’’’".encode()).path
    assert line_start_after(path, 2, reach=10) == 5
    assert line_start_after(path, 5, reach=10) == 5
    assert line_start_after(path, 6, reach=4) == 10
    assert line_start_after(path, 6, reach=3) == 6
    assert line_start_after(path, 11, reach=10) == 12, "after é"
    assert line_start_after(path, 13, reach=0) == 15, "after the first ’"


def test_position_counts_the_byte_order_mark(tmp_path):
    with pytest.raises(InputError, match="byte 5 "):
        list(read([written(tmp_path, b"\xef\xbb\xbfab\xff")], "utf-8"))
