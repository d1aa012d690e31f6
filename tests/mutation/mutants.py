"""The mutants of a module: its text with one place changed."""

from __future__ import annotations

import ast
import difflib
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.operators import OPERATORS, Change, Enums, Place

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = REPOSITORY / "server" / "comptoir_server"
SKIPPED = (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.arg)
WORDS_MAX = 70
CONTEXT = 12


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from `start` to `end` of the module's text become `new`.

    `function` is the first line of the innermost function around it, 0 where there is none, or one that is called for
    many tests at once because what it answers is kept: then every test of the module may notice. `name` stays the same
    as long as the changed words do, wherever they stand.
    """

    module: str
    name: str
    function: int
    line: int
    start: int
    end: int
    new: str

    def applied(self, text: bytes) -> bytes:
        """The module's text with the change."""
        return text[: self.start] + self.new.encode() + text[self.end :]

    def diff(self, text: bytes) -> str:
        """The change as a patch without context."""
        before, after = text.decode().splitlines(), self.applied(text).decode().splitlines()
        lines = list(difflib.unified_diff(before, after, lineterm="", n=0))
        return "\n".join(lines[2:])


@dataclass(frozen=True)
class _Around:
    """What surrounds a node."""

    scope: tuple[str, ...] = ()
    function: int = 0


def path_of(module: str) -> Path:
    """Where the source of a module below `comptoir_server` lies."""
    return SERVER / f"{module.replace('.', '/')}.py"


def mutants_of(module: str, text: bytes) -> list[Mutant]:
    """Every mutant of a module's text, in the order of the text."""
    tree = ast.parse(text)
    enums = {**dict(_imported(tree)), **_enumerations_in(tree)}
    enums |= {short: enums[long] for short, long in _aliases(tree) if long in enums}
    offsets = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    alike: Counter[str] = Counter()
    found: list[Mutant] = []
    for (node, new, said), around in _changes(tree, tree, enums, _Around()):
        start = offsets[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = offsets[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        name = f"{module}:{'.'.join(around.scope)}: {said or _difference(node, new)}"
        alike[name] += 1
        if alike[name] > 1:
            name += f" #{alike[name]}"
        found.append(Mutant(module, name, around.function, node.lineno, start, end, new))  # type: ignore[attr-defined]
    return found


def _changes(node: ast.AST, parent: ast.AST, enums: Enums, around: _Around) -> Iterator[tuple[Change, _Around]]:
    """Every change of a node and of what is in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        cached = any("cache" in ast.unparse(decorator) for decorator in node.decorator_list)
        around = _Around((*around.scope, node.name), 0 if cached else first)
    elif isinstance(node, ast.ClassDef):
        around = _Around((*around.scope, node.name), around.function)
    elif isinstance(node, ast.Assign) and not around.scope and isinstance(node.targets[0], ast.Name):
        around = _Around((node.targets[0].id,))
    elif isinstance(node, ast.AnnAssign) and not around.scope and isinstance(node.target, ast.Name):
        around = _Around((node.target.id,))
    for operator in OPERATORS:
        yield from ((change, around) for change in operator(Place(node, parent, enums)))
    for child in _parts(node):
        yield from _changes(child, node, enums, around)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What of a node is run, and is not merely said: no annotation, no decorator, no alias of a type."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "ctx"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST) and not isinstance(one, SKIPPED) and not _is_alias(one):
                yield one


def _is_alias(node: ast.AST) -> bool:
    """Whether this names a type: a global of a mixed-case name."""
    if not isinstance(node, ast.Assign) or node.col_offset or not isinstance(node.targets[0], ast.Name):
        return False
    name = node.targets[0].id.lstrip("_")
    return name != name.upper() and name[0].isupper()


def _difference(node: ast.AST, new: str) -> str:
    """What was there and what is; of long texts only what differs, with the words around it."""
    old = " ".join(ast.unparse(node).split())
    new = " ".join((new[1:-1] if new.startswith("(") and new.endswith(")") else new).split())
    if max(len(old), len(new)) <= WORDS_MAX or new == "pass":
        return f"{_short(old)} -> {_short(new)}"
    begin = _alike(old, new)
    end = max(_alike(old[begin:][::-1], new[begin:][::-1]) - CONTEXT, 0)
    begin = max(begin - CONTEXT, 0)
    return f"{_short(old[begin : len(old) - end])} -> {_short(new[begin : len(new) - end])}"


def _alike(one: str, other: str) -> int:
    """With how many characters both begin."""
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _short(text: str) -> str:
    half = WORDS_MAX // 2
    return text if len(text) <= WORDS_MAX else f"{text[:half]}…{text[-half:]}"


def _enumerations_in(tree: ast.Module) -> dict[str, list[str]]:
    """The enumerations that a module defines, each with its members."""
    return {
        node.name: [
            one.targets[0].id
            for one in node.body
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        ]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "StrEnum" for base in node.bases)
    }


def _imported(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The enumerations that a module imports by name from others of the server."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("comptoir_server."):
            path = path_of((node.module or "").removeprefix("comptoir_server."))
            known = _enumerations_in(_parsed(path)) if path.exists() else {}
            yield from ((one.asname or one.name, known[one.name]) for one in node.names if one.name in known)


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Short names of classes: `_S, _C = PaymentState, PaymentCommand`."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
        ):
            for short, long in zip(node.targets[0].elts, node.value.elts, strict=True):
                if isinstance(short, ast.Name) and isinstance(long, ast.Name):
                    yield short.id, long.id
