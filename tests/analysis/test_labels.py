"""Labels of texts: by hand, and against Python's parser on real source."""

import ast
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from jaxrnn.analysis.labels import COMMENT, CONDITION, DEPTH, STRING, at_symbols, python_labels, text_labels
from jaxrnn.errors import InputError

LIBRARY = Path(sysconfig.get_path("stdlib"))
MODULES = ["argparse.py", "json/decoder.py"]


@pytest.mark.parametrize(
    ("label", "text", "expected"),
    [
        (STRING, 'a = \'b\' + """c\n\'d""" # \'e\'', "....##....#########......."),
        (STRING, "rb'x' f'{y!r:>{w}}' ''", "..##...###########..#."),
        (STRING, "f'{1}' 'a'", ".####..##."),
        (COMMENT, "x # y\n'# z'\n#", "..###.......#"),
        (CONDITION, "if a == (lambda: 1): b", "..#################..."),
        (CONDITION, "if lambda: 1: pass", "..##########......"),
        (CONDITION, "x = [i for i in y if i]", "......................."),
        (CONDITION, "x = 1 if y else 2", "................."),
        (CONDITION, "if a:\n  b\n# c\nelif {b: c}[\n  d]: pass", "..##..............#############......"),
        ("inside quotes", 'a "b" "c\n\nd"', "..##..###..#"),
        ("inside quotes", 'a "b\r\n\r\nd"', "..#####..#"),
        ("after a newline", "a\n\nb\n", ".##.#"),
        ("end of a word", "ab_1, é! x\n", "....#..#..#"),
    ],
)
def test_a_truth_value_holds_after_the_character(label, text, expected):
    labels = python_labels(text) if label in (STRING, COMMENT, CONDITION) else text_labels(text)
    assert "".join(".#"[value] for value in labels[label].astype(int)) == expected


def test_numbers_are_those_of_the_line_that_has_begun():
    labels = text_labels("ab\n  c d\n\n\te")
    assert labels["position in the line"].tolist() == [1, 2, 0, 1, 2, 3, 4, 5, 0, 0, 1, 2]
    assert labels["indentation"].tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 0, 0, 1, 1]
    assert labels["length of the line"].tolist() == [2, 2, 5, 5, 5, 5, 5, 5, 0, 2, 2, 2]
    assert python_labels("f((a), [')'])")[DEPTH].tolist() == [0, 1, 2, 2, 1, 1, 1, 2, 2, 2, 2, 1, 0]


def test_a_symbol_has_the_label_of_its_last_character():
    labels = at_symbols(text_labels("if a:\n b"), np.array([2, 1, 1, 1, 1, 2]))
    assert labels["position in the line"].tolist() == [2, 3, 4, 5, 0, 2]


@pytest.mark.parametrize("text", ["", "\n", "a"])
def test_short_texts_have_labels(text):
    assert {len(values) for values in (text_labels(text) | python_labels(text)).values()} == {len(text)}


@pytest.mark.parametrize("text", ["def f():\n  '''open", "a = (1,", "if x:\n    y\n  z\n", "x = 'y"])
def test_what_is_not_python_is_refused(text):
    with pytest.raises(InputError, match="not Python"):
        python_labels(text)


def parsed(text, kind, part=lambda node: node):
    """The places that the parser gives to nodes of a kind, or to a part of each; its columns count bytes."""
    lines = text.splitlines(keepends=True)
    starts, inside = np.append(0, np.cumsum([len(line) for line in lines])), np.zeros(len(text), bool)
    for node in filter(kind, ast.walk(ast.parse(text))):
        node = part(node)
        ends = (node.lineno - 1, node.col_offset), (node.end_lineno - 1, node.end_col_offset)
        start, end = (starts[row] + len(lines[row].encode()[:at].decode()) for row, at in ends)
        inside[start:end] = True
    return inside


@pytest.mark.parametrize("name", MODULES)
def test_labels_of_real_source_are_those_of_the_parser(name):
    """The parser leaves out what stands around a condition, and joins strings that stand side by side."""
    text = (LIBRARY / name).read_text("utf-8")
    labels, character = python_labels(text), np.array(list(text))

    tests = parsed(text, lambda node: isinstance(node, ast.If), lambda node: node.test)
    assert tests.sum() > 500 and not np.any(tests & ~labels[CONDITION])
    assert set(character[labels[CONDITION] & ~tests & ~labels[COMMENT]]) <= set(" \n\\()")

    strings = parsed(text, lambda node: isinstance(getattr(node, "value", None), str | bytes))
    strings |= parsed(text, lambda node: isinstance(node, ast.JoinedStr))
    assert strings.sum() > 4000 and not np.any(labels[STRING] & ~strings)
    assert set(character[strings & ~labels[STRING] & ~labels[COMMENT]]) <= set("'\"rbfuRBFU \n\\")
