"""From text to a configuration and back: TOML files, values on the command line, and messages that name the key."""

import argparse
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import tomli_w

from jaxrnn.choices import nearest
from jaxrnn.config import Config, Section, portable
from jaxrnn.consistency import check, has_budget
from jaxrnn.data.named import NAMED
from jaxrnn.errors import InputError


class Key(NamedTuple):
    """One key of the configuration.

    Attributes:
        name: as it is written on the command line, such as `model.hidden_size`.
        type: its type, with bounds.
        default: the value when nobody says otherwise.
        about: what it means, in one line.
        read_by: where it is read only by some choices: the key that chooses, and their names.
    """

    name: str
    type: Any
    default: Any
    about: str
    read_by: tuple[str, tuple[str, ...]] | None


SECTIONS: dict[str, type[Section]] = {
    name: type(value) for name, value in msgspec.structs.asdict(Config()).items() if isinstance(value, Section)
}


def _keys() -> dict[str, Key]:
    """List every key by its name, in the order of declaration."""
    found = {}
    for owner, section in [("", Config), *((f"{name}.", section) for name, section in SECTIONS.items())]:
        defaults = section()
        for field in msgspec.structs.fields(section):
            if owner or field.name not in SECTIONS:
                name, meta = owner + field.name, get_args(field.type)[1]
                read_by = (meta.extra["key"], meta.extra["names"]) if meta.extra else None
                found[name] = Key(name, field.type, getattr(defaults, field.name), meta.description, read_by)
    return found


KEYS = _keys()


def resolve(path: Path | None = None, overrides: Mapping[str, str] | None = None) -> Config:
    """Make a configuration from the defaults, a file and overrides; what comes later wins.

    Where an override makes another choice than the file, what the file says for its own choice alone is forgotten.

    Args:
        path: a TOML file that holds what differs from the defaults, or None.
        overrides: values as text by key, as they stand on the command line.

    Returns:
        The configuration, checked.

    Raises:
        InputError: naming the key, its value and where it stood, with what was expected.

    Example:
        >>> resolve(overrides={"model.hidden_size": "64"}).model.hidden_size
        64
    """
    values: dict[str, Any] = {}
    if path is not None:
        values |= {name: _value(name, raw, str(path), strict=True) for name, raw in _read(path).items()}
    given = {
        name: _value(name, _inline(name, raw), "command line", strict=False) for name, raw in (overrides or {}).items()
    }
    anew = _unread(_assemble(values | given)).keys() - _unread(_assemble(values)).keys()
    config = _assemble({name: value for name, value in values.items() if name not in anew} | given)
    check(config)
    return config


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file into values by key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a TOML file, or none for the built-in configuration") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        hint = "" if path.suffix == ".toml" else f"; to train on a text: --data.corpus {path}"
        raise InputError(f"{path}: expected a configuration in TOML: {error}{hint}") from None
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if name in SECTIONS and not isinstance(value, dict):
            raise InputError(f"{name} = {value!r} ({path}): expected a section [{name}] with keys of its own")
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if name in SECTIONS else {name: value}
    return flat


def _inline(name: str, raw: str) -> Any:
    """Read a table on the command line, such as `{b2 = 0.99}`, where the key has one; any other text stays text."""
    if not (raw.startswith("{") and name in KEYS and isinstance(KEYS[name].default, dict)):
        return raw
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} = {raw!r} (command line): expected a table such as {{b2 = 0.99}}: {error}") from None


def _value(name: str, raw: Any, source: str, *, strict: bool) -> Any:
    """Convert one value to the type of its key."""
    if name not in KEYS:
        known = SECTIONS if isinstance(raw, dict) else KEYS
        raise InputError(f"{name} ({source}): no such key{nearest(name, known)}")
    if isinstance(raw, str) and any("\ud800" <= letter <= "\udfff" for letter in raw):  # bytes, as Python reads them
        raise InputError(f"{name} = {raw!r} ({source}): expected UTF-8, which a configuration is written in")
    try:
        value = msgspec.convert(raw, KEYS[name].type, strict=strict)
        if isinstance(value, int) and value >= 2**32:
            raise msgspec.ValidationError("Expected a number below 2^32")
        return value
    except msgspec.ValidationError as error:
        expected = str(error).replace("`", "").split(", got")[0].replace("Expected", "expected")
        raise InputError(f"{name} = {raw!r} ({source}): {expected}; it is: {KEYS[name].about}") from None


def _assemble(values: Mapping[str, Any]) -> Config:
    """Put values by key into their sections."""
    parts: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for name, section in SECTIONS.items():
        own = {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
        parts[name] = section(**own)
    return Config(**parts)


def flatten(config: Config) -> dict[str, Any]:
    """List the values of a configuration by key.

    Args:
        config: a configuration.

    Returns:
        One value for each of `KEYS`, in their order.

    Example:
        >>> flatten(Config())["model.cell"]
        'lstm'
    """

    def value(name: str) -> Any:
        section, _, key = name.rpartition(".")
        return getattr(getattr(config, section) if section else config, key)

    return {name: value(name) for name in KEYS}


def check_read(config: Config) -> None:
    """Refuse values that nothing reads.

    They belong to another gradient rule, cell, initializer or schedule than the chosen one, or another key decides.
    For what a user asks for. A value that is the default passes, so that a file may spell all of them out.

    Args:
        config: a configuration.

    Raises:
        InputError: naming the key, and who would read it.

    Example:
        >>> check_read(resolve(overrides={"gradient.horizon": "16"}))
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: gradient.horizon = 16: only gradient.rule = 'truncated' reads it, not 'bptt'; leave \
one of them out
    """
    values = flatten(config)
    for name, why in _unread(config).items():
        if values[name] != KEYS[name].default:
            raise InputError(f"{name} = {values[name]!r}: {why}")


def _unread(config: Config) -> dict[str, str]:
    """The keys that nothing reads, whatever they say: since another choice was made, or since another key decides."""
    values, found = flatten(config), {}
    for name, (chooser, readers) in ((key.name, key.read_by) for key in KEYS.values() if key.read_by):
        if values[chooser] not in readers:
            those = " or ".join(map(repr, readers))
            found[name] = f"only {chooser} = {those} reads it, not {values[chooser]!r}; leave one of them out"
    data, one_layer = config.data, config.model.num_layers == 1
    named = NAMED.get(data.corpus)
    split, whole = data.valid is not None or (named is not None and "train" in named.files), "the text comes in splits"
    decided = [
        ("gradient.segment_length", has_budget(config.gradient), "gradient.memory decides it"),
        ("data.minimum_count", data.tokenizer == "byte", "data.tokenizer = 'byte' has all 256 symbols"),
        ("model.last_size", one_layer, "there is one layer"),
        ("regularizer.dropout_hidden", one_layer, "there is one layer, and nothing between layers"),
        ("data.valid_share", split, whole),
        ("data.test_share", split, whole),
    ]
    return found | {name: f"{why}; leave it out" for name, does, why in decided if does}


def settings_of(config: Config, chooser: str) -> dict[str, Any]:
    """List what a choice reads beside what all of them do.

    Args:
        config: a configuration.
        chooser: the key that chooses, such as `gradient.rule`.

    Returns:
        The values by key, without those that are None.

    Example:
        >>> settings_of(resolve(overrides={"gradient.rule": "truncated"}), "gradient.rule")
        {'gradient.horizon': 32}
    """
    values = flatten(config)
    read = {key.name: key.read_by[1] for key in KEYS.values() if key.read_by and key.read_by[0] == chooser}
    chosen = [name for name, readers in read.items() if values[chooser] in readers]
    return {name: values[name] for name in chosen if values[name] is not None}


def dumps(config: Config) -> str:
    """Write a whole configuration as TOML, from which `resolve` reads an equal one.

    TOML has no null: a key whose value is None is left out, and None is the default of every key that can be None.

    Args:
        config: a configuration.

    Returns:
        The text of the file.

    Example:
        >>> dumps(Config()).splitlines()[:3]
        ['seed = 1', '', '[data]']
    """
    tables = msgspec.to_builtins(config)
    for section in SECTIONS:
        tables[section] = {key: value for key, value in tables[section].items() if value is not None}
    return tomli_w.dumps(tables)


def differences(old: Config, new: Config, leave_out: Collection[str] = ()) -> list[str]:
    """Name the keys in which two configurations differ, with both values; where they run may differ.

    Args:
        old: a configuration.
        new: another.
        leave_out: keys in which they may differ.

    Returns:
        One entry a key; none where they are equal.

    Example:
        >>> differences(Config(), Config(seed=3))
        ['seed was 1, is 3']
    """
    before, after = flatten(portable(old)), flatten(portable(new))
    changed = [name for name, value in before.items() if name not in leave_out and value != after[name]]
    return [f"{name} was {before[name]!r}, is {after[name]!r}" for name in changed]


def whereabouts(config: Config) -> list[str]:
    """What a run's `config.toml` leaves out, for it is of the machine alone: as words of a command line.

    Args:
        config: a configuration.

    Returns:
        Options with their values.

    Example:
        >>> whereabouts(resolve(overrides={"parallel.devices": "1", "machine.keep_buffers": "false"}))
        ['--parallel.devices', '1', '--machine.keep_buffers', 'false']
    """
    kept, given = flatten(portable(config)), flatten(config)
    changed = [name for name, value in given.items() if value != kept[name]]
    return [word for name in changed for word in (f"--{name}", _shown(given[name]))]


def add_keys(parser: argparse.ArgumentParser, names: Mapping[str, Iterable[str]]) -> None:
    """Make an option of every key, with its meaning and its default in the help.

    Args:
        parser: where to.
        names: for some keys, the names there are to choose from.
    """
    groups = {name: parser.add_argument_group(f"[{name}]", section.__doc__) for name, section in SECTIONS.items()}
    groups[""] = parser.add_argument_group("without a section")
    for key in KEYS.values():
        choices = f": {', '.join(names[key.name])}" if key.name in names else ""
        default = "" if key.default in (None, {}) else f" [{_shown(key.default)}]"
        groups[key.name.rpartition(".")[0]].add_argument(
            f"--{key.name}",
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{key.about}{choices}{default}".replace("%", "%%"),
        )


def _shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
