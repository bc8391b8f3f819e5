"""Words that several commands say: symbols by their kind, numbers with their nouns, columns."""

from jaxrnn.config import Model
from jaxrnn.data.text import TOKENIZERS

_IN_SHORT = {"character": "char"}


def symbol_noun(tokenizer: str) -> str:
    """Name the symbols of a tokenizer, as in "bits per character".

    Args:
        tokenizer: its name.

    Returns:
        A noun.

    Example:
        >>> symbol_noun("whitespace")
        'word'
    """
    return TOKENIZERS[tokenizer].noun


def in_short(noun: str) -> str:
    """Shorten the name of a symbol, for lines that must stay short.

    Args:
        noun: what `symbol_noun` gives.

    Returns:
        A few letters.

    Example:
        >>> in_short("character"), in_short("word")
        ('char', 'word')
    """
    return _IN_SHORT.get(noun, noun)


def many(number: int, noun: str) -> str:
    """A number with its noun.

    Args:
        number: how many.
        noun: of what, in the singular.

    Returns:
        Both, the noun in the plural where that is right.

    Example:
        >>> many(1234, "file")
        '1,234 files'
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(*lines: tuple[str, str]) -> str:
    """Write names in one column, texts in the next.

    Args:
        *lines: a name and a text each.

    Returns:
        As many lines.
    """
    return "\n".join(f"{name:<11} {text}" for name, text in lines)


def layers_text(model: Model) -> str:
    """Describe the layers of a model.

    Args:
        model: the section.

    Returns:
        A few words.

    Example:
        >>> layers_text(Model(num_layers=3, hidden_size=1150, last_size=400))
        'lstm, 3 layers of 1150 units, 400 in the last'
    """
    last = f", {model.last_size} in the last" if model.last_size else ""
    return f"{model.cell}, {many(model.num_layers, 'layer')} of {model.hidden_size} units{last}"
