"""Configurations: files, overrides, round trips, and refusals that name the key."""

import contextlib
import itertools
from argparse import ArgumentParser

import msgspec
import pytest

from jaxrnn.build import NAMES
from jaxrnn.config import Config, Data, Gradient, Model, Optimizer, Parallel, Training, length
from jaxrnn.consistency import check
from jaxrnn.errors import InputError
from jaxrnn.settings import KEYS, SECTIONS, add_keys, check_read, differences, dumps, flatten, resolve


def _file(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text)
    return path


def _refusal(tmp_path, text=None, **overrides):
    path = None if text is None else _file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        resolve(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_key_says_what_it_means():
    assert len(KEYS) > 30
    for key in KEYS.values():
        assert key.about and key.about[0].islower() or key.about[0].isdigit(), key.name


def test_the_defaults_pass_their_own_checks():
    check(Config())
    for key in KEYS.values():
        assert msgspec.convert(msgspec.to_builtins(key.default), key.type) == key.default, key.name


def test_none_is_the_default_of_every_key_that_can_be_none():
    # TOML has no null: `dumps` leaves such a key out, which must mean None again.
    for key in KEYS.values():
        try:
            msgspec.convert(None, key.type)
        except msgspec.ValidationError:
            continue
        assert key.default is None, key.name


def test_a_later_source_wins(tmp_path):
    path = _file(tmp_path, 'seed = 7\n[model]\nhidden_size = 32\ncell = "gru"\n')
    config = resolve(path, {"model.hidden_size": "64", "optimizer.rate": "1e-3"})
    assert (config.seed, config.model.cell, config.model.hidden_size, config.optimizer.rate) == (7, "gru", 64, 1e-3)
    assert config.data == Data()


@pytest.mark.parametrize(
    ("text", "override", "forgotten"),
    [
        ("[data]\nminimum_count=3", {"data.tokenizer": "byte"}, "data.minimum_count"),
        (
            "[model]\nnum_layers=2\n[regularizer]\ndropout_hidden=0.3",
            {"model.num_layers": "1"},
            "regularizer.dropout_hidden",
        ),
        ("[data]\nvalid_share=0.1", {"data.valid": "v", "data.test": "t"}, "data.valid_share"),
        ("[model]\nforget_bias=0.0", {"model.cell": "gru"}, "model.forget_bias"),
        ("[model]\nnum_layers=2\nlast_size=8", {"model.num_layers": "1"}, "model.last_size"),
        ("[regularizer]\nzoneout_content=0.3", {"model.cell": "elstm"}, "regularizer.zoneout_content"),
    ],
)
def test_what_an_override_decides_is_forgotten_of_the_file_alone(tmp_path, text, override, forgotten):
    """What the command line says too, or what the file itself decides, is refused still."""
    file = _file(tmp_path, text)
    resolved = resolve(file, override)
    check_read(resolved)
    assert flatten(resolved)[forgotten] == KEYS[forgotten].default
    said = str(flatten(resolve(file))[forgotten])
    with pytest.raises(InputError, match=forgotten):
        check_read(resolve(file, override | {forgotten: said}))


def test_a_whole_configuration_reads_back_equal(tmp_path):
    changed = {
        "seed": "4294967295",
        "data.valid": 'a "quoted" \\ name\n',
        "data.test": "ü",
        "data.minimum_count": "3",
        "model.tie": "true",
        "model.embedding_size": "384",
        "optimizer.clip_norm": "inf",
        "optimizer.weight_decay": "0",
        "optimizer.rate": "1.2345678901234567e-05",
        "optimizer.options": "{b2 = 0.99, nesterov = true}",
        "sampling.top_k": "5",
        "sampling.prompt": "{",
    }
    config = resolve(None, changed)
    assert len(differences(Config(), config)) == len(changed)
    for one in (Config(), config):
        assert resolve(_file(tmp_path, dumps(one))) == one


def test_a_whole_configuration_is_written_in_full():
    written = msgspec.toml.decode(dumps(Config()))
    names = {f"{section}.{key}" for section in SECTIONS for key in written[section]} | {"seed"}
    assert names == {name for name, value in flatten(Config()).items() if value is not None}


def test_differences_name_key_and_both_values():
    assert differences(Config(), Config()) == []
    changed = differences(Config(), Config(model=Model(cell="gru"), seed=2))
    assert changed == ["seed was 1, is 2", "model.cell was 'lstm', is 'gru'"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[model]\nhiden_size = 3", ["model.hiden_size", "did you mean 'model.hidden_size'?", "some.toml"]),
        ("hidden_size = 3", ["hidden_size", "did you mean 'model.hidden_size'?"]),
        ("[modle]\ncell = 'gru'", ["modle", "did you mean 'model'?"]),
        ("model = 3", ["model = 3", "[model]"]),
        ("[model]\nhidden_size = 'big'", ["model.hidden_size = 'big'", "expected int", "some.toml"]),
        ("[model]\nhidden_size = '3'", ["model.hidden_size = '3'", "expected int"]),
        ("[model]\nhidden_size = 2.5", ["model.hidden_size = 2.5", "expected int"]),
        ("[model]\nhidden_size = 0", ["model.hidden_size = 0", "expected int >= 1"]),
        ("[model]\nhidden_size = true", ["model.hidden_size = True", "expected int"]),
        ("[model]\ntie = 1", ["model.tie = 1", "expected bool"]),
        ("[model]\ndropout = 1.0", ["model.dropout = 1.0", "expected float < 1.0"]),
        ("[model]\ndropout = nan", ["model.dropout = nan", "expected float"]),
        ("[data]\ncorpus = 5", ["data.corpus = 5", "expected str"]),
        ("[optimizer]\noptions = {b2 = 'x'}", ["optimizer.options", "expected"]),
        ("seed = -1", ["seed = -1", "expected int >= 0"]),
        ("model.", ["some.toml", "TOML"]),
        ("[training]\nlength = '5 hours'", ["training.length = '5 hours'", "'5 minutes'"]),
        ("[training]\nlength = '0 epochs'", ["training.length = '0 epochs'"]),
        ("[data]\nvalid = 'x'", ["data.valid", "data.test"]),
        ("[model]\ntie = true", ["model.embedding_size", "model.hidden_size"]),
        ("[gradient]\nrule='truncated'\nhorizon=33", ["gradient.horizon = 33", "data.chunk_length = 32"]),
        ("[gradient]\nrule='adaptive'\nlongest=33", ["gradient.longest = 33", "the nearest that work are 64 and 96"]),
        ("[gradient]\nrule='adaptive'\n[data]\nchunk_spread=2.0", ["gradient.longest = 128", "chunk_spread = 0"]),
        ("[data]\ncircular=true\nchunk_spread=2.0", ["data.circular = true", "expected data.chunk_spread = 0"]),
        ("[gradient]\nrule='checkpointed'\nsegment_length=33", ["gradient.segment_length = 33"]),
        (
            "[training]\nupdates_per_dispatch=100\nvalidate_every=10",
            ["training.updates_per_dispatch = 100", "training.validate_every = 10"],
        ),
        (
            "[training]\npatience=3\n[optimizer]\naverage_after=3",
            ["training.patience = 3", "expected more than 4", "optimizer.average_after"],
        ),
        ("[model]\ncell='gru'\ninitializer='chrono'", ["model.initializer = 'chrono'", "not for 'gru'"]),
        ("[model]\nlongest_memory=2", ["model.longest_memory = 2", "expected float > 2"]),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, named):
    message = _refusal(tmp_path, text)
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("model.hidden_size", "big", ["model.hidden_size = 'big' (command line)", "expected int"]),
        ("model.tie", "yes", ["model.tie = 'yes'", "expected bool"]),
        ("sampling.length", str(2**31), ["sampling.length = '2147483648' (command line)", "expected int <"]),
        ("optimizer.rate", "0", ["optimizer.rate = '0'", "expected float > 0"]),
        ("optimizer.options", "{b2 = }", ["optimizer.options", "{b2 = 0.99}"]),
        ("modle.cell", "gru", ["modle.cell", "did you mean 'model.cell'?"]),
    ],
)
def test_a_bad_override_is_refused_by_name(tmp_path, key, value, named):
    message = _refusal(tmp_path, **{key: value})
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"gradient.horizon": "16"}, "gradient.horizon = 16: only gradient.rule = 'truncated' reads it, not 'bptt'"),
        ({"gradient.memory": "64MiB"}, "gradient.memory = '64MiB': only gradient.rule = 'checkpointed'"),
        (
            {"gradient.rule": "truncated", "gradient.cut_rate": "0.1"},
            "gradient.cut_rate = 0.1: only gradient",
        ),
        ({"model.longest_memory": "50"}, "model.longest_memory = 50.0: only model.initializer = 'chrono'"),
        ({"model.projection_size": "8"}, "model.projection_size = 8: only model.cell = 'projection_lstm'"),
        ({"model.cell": "gru", "model.forget_bias": "1"}, "model.forget_bias = 1.0: only model.cell = 'lstm' or"),
        (
            {"gradient.rule": "checkpointed", "gradient.memory": "64MiB", "gradient.segment_length": "8"},
            "gradient.segment_length = 8: gradient.memory decides it",
        ),
        ({"data.tokenizer": "byte", "data.minimum_count": "3"}, "data.minimum_count = 3: data.tokenizer = 'byte'"),
        ({"regularizer.dropout_hidden": "0.5"}, "regularizer.dropout_hidden = 0.5: there is one layer"),
        ({"data.corpus": "ptb", "data.valid_share": "0.2"}, "data.valid_share = 0.2: the text comes in splits"),
        ({"data.valid": "a", "data.test": "b", "data.test_share": "0.2"}, "data.test_share = 0.2: the text comes in"),
    ],
)
def test_a_value_that_nothing_reads_is_refused(overrides, named):
    with pytest.raises(InputError) as caught:
        check_read(resolve(overrides=overrides))
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_value_that_something_reads_is_not_refused():
    check_read(Config())
    for key in KEYS.values():
        if key.read_by:
            chooser, names = key.read_by
            for name in names:
                assert name in NAMES[chooser], key.name
    check_read(resolve(overrides={"gradient.rule": "checkpointed", "gradient.memory": "64MiB"}))
    check_read(resolve(overrides={"data.corpus": "tinyshakespeare", "data.valid_share": "0.2"}))


def test_another_choice_on_the_command_line_forgets_what_the_file_says_for_its_own(tmp_path):
    path = _file(tmp_path, '[optimizer]\nschedule = "plateau"\nplateau = 1\ndecay = 0.25\nrate = 3.0\n')
    config = resolve(path, {"optimizer.schedule": "exponential"})
    check_read(config)
    assert config.optimizer == Optimizer(schedule="exponential", decay=0.25, rate=3.0)
    with pytest.raises(InputError, match="optimizer.plateau = 1: only"):
        check_read(resolve(path, {"optimizer.schedule": "exponential", "optimizer.plateau": "1"}))


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "marked.toml"
    path.write_text("seed = 7", "utf-8-sig")
    assert resolve(path).seed == 7


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.toml: no such file"):
        resolve(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="expected a configuration in TOML"):
        resolve(tmp_path)  # a folder


def test_values_on_the_command_line_are_read_as_their_keys_type():
    given = {"model.tie": "false", "optimizer.clip_norm": "inf", "sampling.top_k": "null", "data.corpus": "7"}
    config = resolve(None, given)
    assert config.model.tie is False
    assert config.optimizer.clip_norm == float("inf")
    assert config.sampling.top_k is None
    assert config.data.corpus == "7"


def test_only_limits_may_be_infinite_and_nothing_nan():
    taken = set()
    for name, value in itertools.product(KEYS, ("nan", "inf", "-inf")):
        with contextlib.suppress(InputError):
            if isinstance(flatten(resolve(None, {name: value}))[name], float):
                taken.add((name, value))
    assert taken == {("optimizer.clip_norm", "inf"), ("optimizer.clip_value", "inf")}


def test_horizon_matters_only_to_the_estimator_that_has_one():
    check(Config(gradient=Gradient(horizon=65, segment_length=65)))
    check(Config(data=Data(chunk_length=8), gradient=Gradient(rule="checkpointed", memory="64MiB")))
    check(Config(gradient=Gradient(rule="truncated", horizon=128)))  # chunks of the past are replayed


WITHOUT_PORT = ["10.0.0.1", "10.0.0.1:", "node:port", "node:0", "node:65536", "node:-1", "node:1٣", "::1:1234"]


@pytest.mark.parametrize("address", [*WITHOUT_PORT, "", "[::1]", ":1234", "Auto", "node 1:1234"])
def test_a_coordinator_is_a_host_and_a_port(address):
    with pytest.raises(InputError) as refused:
        check(Config(parallel=Parallel(coordinator=address, processes=2, process=0)))
    assert f'parallel.coordinator = {address!r}: expected "auto" or HOST:PORT' in str(refused.value)


@pytest.mark.parametrize("address", ["10.0.0.1:1234", "node-1.cluster:65535", "[::1]:1", "[fe80::1%eth0]:1234"])
def test_a_coordinator_may_have_a_name_or_an_address_of_any_kind(address):
    parallel = Parallel(coordinator=address, processes=2, process=0)
    check(Config(parallel=parallel, training=Training(length="2 epochs")))


def test_one_is_singular():
    assert length(Training(length="1 minute")) == length(Training(length="1 minutes")) == (1, "minutes")


@pytest.mark.parametrize(
    "text",
    ["", "5", "five epochs", "-1 epochs", "1.5 epochs", "4 updates ", "4  updates", "٣ epochs", "2147483648 updates"],
)
def test_a_length_is_a_number_and_a_unit(text):
    with pytest.raises(InputError, match="training.length"):
        length(Training(length=text))


def test_the_help_shows_every_key_with_its_default():
    parser = ArgumentParser()
    add_keys(parser, {"model.cell": ["lstm", "gru"]})
    text = parser.format_help()
    assert "the recurrent cell: lstm, gru [lstm]" in " ".join(text.split())
    for name in KEYS:
        assert f"--{name}" in text


def test_a_text_in_the_place_of_a_configuration_is_pointed_to_its_key(tmp_path):
    (tmp_path / "book.txt").write_text("It was")
    with pytest.raises(
        InputError, match=r"book.txt: expected a configuration in TOML.*; to train on a text: --data.corpus .*book.txt"
    ):
        resolve(tmp_path / "book.txt")
