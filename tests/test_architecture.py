"""The plan of the house: imports go down its floors, files and functions stay short, what is public is documented."""

import ast
import graphlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

import jaxrnn

ROOT = Path(jaxrnn.__file__).parent

# The lowest floor first; a file imports from lower ones only. A folder stands for all its files but those that have a
# place of their own; files of one folder and floor may import each other, without circles.
FLOORS = [
    "errors types allocator",
    "choices sums jsonable",
    "shapes trees products initializers losses cross_entropy averaging mesh",
    "cell loop lookup gradients.base",
    "marks sampled_cross_entropy",
    "fused linear_scan stepwise",
    "cells compose gradients",
    "optimizers schedules parallel data folders config interop",
    "evaluation consistency",
    "training sampling dynamic pointer context snapshots ngrams novelty settings analysis",
    "build spooled beam",
    "running",
    "command",
    "train evaluate sample analyze",
    "__main__",
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def folder_of(name):
    return name.partition(".")[0] if (ROOT / name.partition(".")[0]).is_dir() else None


def floor_of(name):
    return FLOOR.get(name, FLOOR.get(folder_of(name)))


def own_imports(node):
    """The modules of jaxrnn that an import names, as keys of MODULES."""
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import; name the module in full"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if name.removeprefix("jaxrnn.") in MODULES else node.module for name in names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        return []
    return [name.removeprefix("jaxrnn.") for name in names if name.startswith("jaxrnn.")]


GRAPH = {name: {own for node in ast.walk(tree) for own in own_imports(node)} for name, tree in TREES.items()}


def test_every_file_has_a_floor_and_every_name_of_a_floor_is_a_file_or_folder():
    assert [name for name in MODULES if floor_of(name) is None] == []
    assert [name for name in FLOOR if name not in MODULES] == []


def test_the_map_on_the_page_has_every_name():
    page = (Path(__file__).parents[1] / "docs/architecture.md").read_text("utf-8")
    shown = re.findall(r"[\w/]+", page.split("```text")[1].split("```")[0])
    names = {name.removeprefix("jaxrnn.") for floor in FLOORS for name in floor.split()} - {"__main__", "running"}
    assert names <= {name.rstrip("/").replace("/", ".") for name in shown}


COMMANDS = set("command train evaluate sample analyze __main__".split())
INSIDE = set(  # what other modules are made of: nobody who uses the library calls it
    "choices consistency folders jsonable lookup loop products shapes sums analysis.numerals".split()
)


def first_column(docstring):
    """The names that begin the indented lines of a docstring, several to a line allowed, up to two blanks."""
    rows = re.findall(r"^ {4}(\w+(?:, \w+)*)  ", docstring, re.MULTILINE)
    return {name for row in rows for name in row.split(", ")}


def test_the_maps_that_help_shows_have_every_module():
    top = {name.partition(".")[0] for name in MODULES}
    assert first_column(jaxrnn.__doc__) == top - COMMANDS - INSIDE
    analysis = {name for name in MODULES if name.startswith("analysis.")}
    assert {f"analysis.{name}" for name in first_column(ast.get_docstring(TREES["analysis"]))} == analysis - INSIDE


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    for imported in GRAPH[name]:
        own, other = floor_of(name), floor_of(imported)
        within = own == other and folder_of(name) is not None and folder_of(imported) == folder_of(name)
        assert other < own or within, f"{name} (floor {own}) imports {imported} (floor {other})"


def test_cells_know_of_no_gradients():
    """Not even of `gradients.base`, which lies below them; that gradients know of no cells, the floors say."""
    cells = [name for name in MODULES if folder_of(name) in ("cells", "compose")]
    knowing = [name for name in cells if any(folder_of(imported) == "gradients" for imported in GRAPH[name])]
    assert cells and knowing == []


def test_imports_make_no_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_own_modules_are_imported_at_the_top(name):
    late = [node.lineno for node in ast.walk(TREES[name]) if own_imports(node) and node not in TREES[name].body]
    assert late == []


@pytest.mark.parametrize("name", MODULES)
def test_a_file_can_be_read_at_one_sitting(name):
    text = MODULES[name].read_text("utf-8")
    assert text.count("\n") < 350
    assert ast.get_docstring(TREES[name])


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", MODULES)
def test_every_function_can_be_read_in_one_look(name):
    for node in functions(TREES[name]):
        length = node.end_lineno - node.lineno - (ast.get_docstring(node) or "").count("\n")
        assert length < 70, f"{node.name} has {length} lines"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_documented(name):
    """A class in one line at least; a function with each of its arguments."""
    public = [node for node in TREES[name].body if not getattr(node, "name", "_").startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
    undocumented = {}
    for node in set(public) & set(functions(TREES[name])):
        a = node.args
        arguments = {arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if arg}
        undocumented[node.name] = arguments - documented_arguments(ast.get_docstring(node))
    assert {name: missing for name, missing in undocumented.items() if missing} == {}


def documented_arguments(docstring):
    """The names in the section Args: of a docstring, several to a line allowed."""
    section = re.search(r"^Args:\n((?: .*\n|\n)*)", docstring + "\n", re.MULTILINE)
    entries = re.findall(r"^    \*{0,2}(\w+(?:, \w+)*)[^:\n]*:", section[1], re.MULTILINE) if section else []
    return {name for entry in entries for name in entry.split(", ")}


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    imported = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            imported |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            imported |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
    assert {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"jaxrnn"} <= declared
