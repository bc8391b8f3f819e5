"""Labels: what is true of each place in a text, to be compared with what each unit does there.

A label says what holds *after* a character has been read, for that is when the state that has read it could know. So
the quote that opens a string is inside it, and the one that closes it is not. Truth values (`bool`) are for yes or no,
floats for how much. A label function of your own takes the text and gives one value a character.
"""

import io
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxrnn.errors import InputError

Labels = Mapping[str, np.ndarray]
"""For each label's name `[N]`, bool or float: one value for each place of a text."""

LabelFunction = Callable[[str], Labels]
"""From a text of N characters to its labels `[N]`."""

STRING, COMMENT, CONDITION = "inside a string literal", "inside a comment", "inside an if condition"
DEPTH, QUOTES = "bracket depth", "inside quotes"

_STATEMENT_STARTS_AFTER = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_PASSED_OVER = {tokenize.NL, tokenize.COMMENT}


class NotPython(InputError):
    """A text is not Python as the running version knows it."""


class Token(NamedTuple):
    """A token of Python source.

    Attributes:
        kind: one of the numbers of `tokenize`.
        text: as it is written; of an f-string its opening.
        start: the place of its first character in the text.
        end: the place behind its last.
    """

    kind: int
    text: str
    start: int
    end: int


def text_labels(text: str) -> dict[str, np.ndarray]:
    r"""Say what can be said of any text.

    Args:
        text: N characters.

    Returns:
        `[N]` each. Truth values: "inside quotes" (an odd number of `"` since the last empty line), "after a newline",
        "end of a word" (at the first character that is no letter, digit or underscore). Floats: "indentation" (blanks
        at the line's start, those read so far), "position in the line" (characters of it read so far), "length of the
        line" (to its end: knowing it takes foresight).

    Cost:
        O(N), by whole arrays.

    Example:
        >>> text_labels('a "b"\n')["inside quotes"].astype(int).tolist()
        [0, 0, 1, 1, 0, 0]
        >>> text_labels("ab\n\ncd")["position in the line"].tolist()
        [1.0, 2.0, 0.0, 0.0, 1.0, 2.0]
    """
    characters = np.array(list(text), "<U1")
    newline, blank = characters == "\n", (characters == " ") | (characters == "\t")
    line = np.cumsum(newline)  # behind a newline the next line has begun
    starts, ends = np.append(0, np.flatnonzero(newline) + 1), np.append(np.flatnonzero(newline), len(text))
    shown = np.append(np.flatnonzero(~blank), len(text))
    leading = shown[np.searchsorted(shown, starts)] - starts
    position = np.arange(1, len(text) + 1) - starts[line]
    word = np.char.isalnum(characters) | (characters == "_")
    return {
        QUOTES: _inside_quotes(characters == '"', newline, characters == "\r"),
        "after a newline": newline,
        "end of a word": ~word & _one_before(word),
        "indentation": np.minimum(leading[line], position).astype(float),
        "position in the line": position.astype(float),
        "length of the line": (ends - starts)[line].astype(float),
    }


def python_labels(text: str) -> dict[str, np.ndarray]:
    """Say what Python's own tokenizer knows of a source text.

    Args:
        text: N characters, a file from its start to its end.

    Returns:
        `[N]` each. Truth values: "inside a string literal" (its prefix, such as `f`, is outside; all of an f-string is
        inside), "inside a comment", "inside an if condition" (behind `if` or `elif` at the head of a statement, up to
        the colon). A float: "bracket depth".

    Raises:
        NotPython: the text is not Python as the running version knows it.

    Example:
        >>> labels = python_labels('if (a): b("c")  # d')
        >>> "".join(map(str, labels["inside an if condition"].astype(int)))
        '0011110000000000000'
        >>> "".join(map(str, labels["inside a string literal"].astype(int)))
        '0000000000110000000'
    """
    tokens = list(tokens_of(text))
    steps = np.zeros(len(text))
    for token in tokens:
        steps[token.start : token.end] += _depth_step(token)
    strings = [token for token in tokens if token.kind == tokenize.STRING]
    comments = [token for token in tokens if token.kind == tokenize.COMMENT]
    return {
        STRING: _covered(len(text), ((token.start + _prefix(token), token.end - 1) for token in strings)),
        COMMENT: _covered(len(text), ((token.start, token.end) for token in comments)),
        CONDITION: _covered(len(text), _conditions(tokens)),
        DEPTH: np.cumsum(steps),
    }


def at_symbols(labels: Labels, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Labels of symbols from those of characters: what holds after the last character of each.

    Args:
        labels: `[N]` each.
        lengths: `[M]` how many characters each symbol stands for; together N.

    Returns:
        `[M]` each.

    Example:
        >>> at_symbols({"vowel": np.array([False, True, False])}, np.array([2, 1]))["vowel"].tolist()
        [True, False]
    """
    last = np.maximum(np.cumsum(lengths) - 1, 0)
    return {name: values[last] for name, values in labels.items()}


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of a Python file, placed by characters; an f-string, which newer Pythons take apart, is one string.

    Args:
        text: a file from its start to its end.

    Yields:
        The tokens, in order.

    Raises:
        NotPython: the text is not Python as the running version knows it.

    Example:
        >>> [(token.start, token.end) for token in tokens_of("x = f'{y}'")][:3]
        [(0, 1), (2, 3), (4, 10)]
    """
    lines = np.append(0, np.cumsum([len(line) for line in io.StringIO(text)], dtype=int))
    opened = []
    try:
        for found in tokenize.generate_tokens(io.StringIO(text).readline):
            name = tokenize.tok_name[found.type]
            start, end = (min(int(lines[min(row, len(lines)) - 1]) + at, len(text)) for row, at in found[2:4])
            if name == "ERRORTOKEN" and not found.string.isspace():
                raise NotPython(f"labels: line {found.start[0]}: not Python, at {found.string!r}; give Python source")
            if name in ("FSTRING_START", "TSTRING_START"):
                opened.append(Token(tokenize.STRING, found.string, start, end))
            elif name in ("FSTRING_END", "TSTRING_END"):
                whole = opened.pop()._replace(end=end)
                yield from () if opened else (whole,)
            elif not opened:
                yield Token(found.type, found.string, start, end)
    except (tokenize.TokenError, SyntaxError) as error:
        where = error.args[1][0] if isinstance(error, tokenize.TokenError) else error.lineno
        raise NotPython(f"labels: line {where}: not Python ({error.args[0]}); give Python source") from None


def _inside_quotes(quote: np.ndarray, newline: np.ndarray, returned: np.ndarray) -> np.ndarray:
    """Whether the quotes since the last empty line are odd in number: one forgotten spoils its own paragraph only."""
    count = np.cumsum(quote)
    empty_line = newline & (_one_before(newline) | (_one_before(returned) & _one_before(_one_before(newline))))
    return (count - np.maximum.accumulate(np.where(empty_line, count, 0))) % 2 == 1


def _one_before(values: np.ndarray) -> np.ndarray:
    """For each place the truth value of the one before it."""
    return np.append(False, values)[:-1]


def _depth_step(token: Token) -> int:
    """By how much a token changes the depth of brackets."""
    if token.kind != tokenize.OP:
        return 0
    return (token.text in "([{") - (token.text in ")]}")


def _prefix(token: Token) -> int:
    """How many letters stand before the opening quote of a string."""
    return min(token.text.find(quote) for quote in "'\"" if quote in token.text)


def _conditions(tokens: Iterable[Token]) -> Iterator[tuple[int, int]]:
    """From behind each `if` or `elif` that begins a statement to its colon, not counting the colons of lambdas."""
    begins, depth, start, level, lambdas = True, 0, None, 0, 0
    for token in tokens:
        if token.kind == tokenize.NAME and token.text in ("if", "elif") and begins:
            start, level, lambdas = token.end, depth, 0
        elif start is not None and depth == level and token.text == "lambda":
            lambdas += 1
        elif start is not None and depth == level and token.text == ":":
            if not lambdas:
                yield start, token.start
                start = None
            lambdas = max(lambdas - 1, 0)
        depth += _depth_step(token)
        begins = token.kind in _STATEMENT_STARTS_AFTER or (begins and token.kind in _PASSED_OVER)


def _covered(length: int, spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """`[N]` whether a place is in one of the spans from start to before end."""
    inside = np.zeros(length, bool)
    for start, end in spans:
        inside[start:end] = True
    return inside
