"""Named texts, fetched from a server on loopback: a good file, a file cut short, and one with a byte changed."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jaxrnn.data import named
from jaxrnn.data.corpora import open_corpus
from jaxrnn.data.named import NAMED, NamedText, Remote
from jaxrnn.data.reading import read, scan
from jaxrnn.errors import InputError

TEXTS = {split: f" the {split} text \n".encode() * 2000 for split in ("train", "valid", "test")}


@pytest.fixture
def server(monkeypatch):
    """A server whose files are `content`; it counts requests, and may promise more bytes than it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            server.asked.append(self.path)
            body = server.content.get(self.path.strip("/"))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"") + server.missing))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked, server.missing = dict(TEXTS), [], 0
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address = f"http://127.0.0.1:{server.server_port}"
    files = {split: Remote(f"{address}/{split}", hashlib.sha256(text).hexdigest()) for split, text in TEXTS.items()}
    monkeypatch.setitem(NAMED, "ptb", NamedText("loopback", files))
    monkeypatch.setitem(NAMED, "ptb_char", NamedText("loopback", files, strip=True))
    monkeypatch.setitem(NAMED, "tinyshakespeare", NamedText("loopback", {"text": files["train"]}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def texts(corpus):
    return {split: "".join(read(documents, "utf-8")) for split, documents in corpus.splits.items()}


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_good_file_is_fetched_once_with_its_own_splits(server, tmp_path):
    for _ in range(2):
        corpus = open_corpus("ptb", cache=tmp_path)
        assert texts(corpus) == {split: text.decode() for split, text in TEXTS.items()}
    assert sorted(server.asked) == ["/test", "/train", "/valid"]
    assert (corpus.name, corpus.origin, len(files_in(tmp_path))) == ("ptb", "loopback", 3)


def test_lines_are_stripped_and_a_single_file_is_split_by_position(server, tmp_path):
    stripped = texts(open_corpus("ptb_char", cache=tmp_path))
    assert stripped["valid"] == "the valid text\n" * 2000
    parts = texts(open_corpus("tinyshakespeare", cache=tmp_path))
    assert "".join(parts.values()).encode() == TEXTS["train"]
    assert len(server.asked) == 3  # one file under two names


def test_files_that_are_at_hand_need_no_net(server, tmp_path):
    at_hand, cache = tmp_path / "at_hand", tmp_path / "cache"
    (at_hand / "packed").mkdir(parents=True)
    (at_hand / "training.txt").write_bytes(TEXTS["train"])
    (at_hand / "packed" / "v.txt.gz").write_bytes(gzip.compress(TEXTS["valid"]))
    (at_hand / "other.txt").write_text("something else")
    with pytest.raises(InputError, match=f"^{at_hand}: has no test of 'ptb', by its SHA-256; expected it there"):
        named.put("ptb", at_hand, place=cache)
    (at_hand / "test.txt").write_bytes(TEXTS["test"])
    named.put("ptb", at_hand, place=cache)
    assert texts(open_corpus("ptb", cache=cache)) == {split: text.decode() for split, text in TEXTS.items()}
    assert server.asked == [] and len(files_in(cache)) == 3


@pytest.mark.parametrize("damage", ["truncated", "cut off", "corrupted", "missing", "refused"])
def test_a_bad_file_is_refused_in_one_line_and_leaves_nothing(server, tmp_path, damage):
    good = TEXTS["train"]
    if damage == "truncated":  # by whoever put it there
        server.content["train"] = good[:-100]
    elif damage == "cut off":  # on the way: less arrives than was promised
        server.content["train"], server.missing = good[:-100], 100
    elif damage == "corrupted":
        server.content["train"] = good[:5000] + b"#" + good[5001:]
    elif damage == "missing":
        del server.content["train"]
    else:
        server.shutdown()
        server.server_close()
    with pytest.raises(InputError) as caught:
        open_corpus("ptb", cache=tmp_path)
    message = str(caught.value)
    assert message.startswith("data.corpus = 'ptb': ") and "\n" not in message
    assert NAMED["ptb"].files["train"].url in message and "--data.corpus TRAIN" in message
    assert ("SHA-256" in message) == (damage in ("truncated", "corrupted"))
    assert len(message) < 330 and "object at 0x" not in message
    assert files_in(tmp_path) == []
    if damage in ("truncated", "corrupted"):
        server.content["train"] = good
        assert texts(open_corpus("ptb", cache=tmp_path))["train"].encode() == good  # and the next try succeeds


def test_a_kept_file_that_was_damaged_is_fetched_anew(server, tmp_path):
    open_corpus("tinyshakespeare", cache=tmp_path)
    (kept,) = files_in(tmp_path)
    kept.write_bytes(b"something else")
    assert "".join(texts(open_corpus("tinyshakespeare", cache=tmp_path)).values()).encode() == TEXTS["train"]
    assert len(server.asked) == 2


def test_a_path_and_splits_of_ones_own_need_no_net(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in TEXTS.items():
        Path(name).write_bytes(text)
    Path("ptb").write_bytes(TEXTS["train"])
    assert open_corpus("./ptb", cache=tmp_path / "cache").name == "./ptb"
    open_corpus("ptb", valid="valid", test="test", cache=tmp_path / "cache")
    assert server.asked == []


def test_every_address_is_pinned_to_a_commit_and_a_digest():
    remotes = [remote for text in NAMED.values() for remote in text.files.values()]
    for remote in remotes:
        assert remote.url.startswith("https://") and len(remote.sha256) == 64 and int(remote.sha256, 16)
        assert any(len(part) == 40 for part in remote.url.split("/"))
    assert named.NAMED["ptb"].files == named.NAMED["ptb_char"].files


@pytest.mark.parametrize(
    ("split", "path"),
    [("train", "ptb/ptb.train.txt.gz"), ("valid", "ptb/ptb.valid.txt.gz"), ("test", "ptb/ptb.test.txt.gz")],
)
def test_the_digests_are_those_of_the_texts_that_are_here(data, split, path):
    assert scan(data / path, name="test").digest == NAMED["ptb"].files[split].sha256
