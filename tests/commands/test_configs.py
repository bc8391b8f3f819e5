"""The configurations that come with the repository: each says why it exists, holds, and the smallest one learns."""

from pathlib import Path

import pytest

from jaxrnn.build import check_names
from jaxrnn.config import Config
from jaxrnn.settings import check_read, resolve

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_says_why_it_exists_and_holds(path):
    assert path.read_text().startswith("# ")
    config = resolve(path)
    check_names(config)
    check_read(config)


def test_the_built_in_configuration_is_spelled_out():
    assert resolve(ROOT / "configs" / "stdlib.toml") == Config()


def test_hello_learns_to_spell(jaxrnn, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    said = jaxrnn("train", "configs/hello.toml", "--run", tmp_path / "run")
    assert said.code == 0
    assert "\n" + "hello\n" * 6 in said.out
    nothing_learned = 2.25  # bits: the frequencies of five symbols
    assert jaxrnn("evaluate", tmp_path / "run", "--json").answer["bits_per_character"] < nothing_learned / 5
