"""What is changed in a module, one place at a time: every way in which somebody might have written it wrongly.

An operator is a function from a node of the syntax tree to what may stand there instead. Messages (texts with a blank,
and formatted ones) are left alone, as are annotations, docstrings, names of types and decorators.

They are our own because mutmut (3.8) changes the bodies of functions without decorators and nothing else: no table of
states, no limit, and no property, such as what is left of a payment to take or to give back.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")

Enums = Mapping[str, list[str]]
"""The members of each enumeration, by the name of its class."""


class Change(NamedTuple):
    """A node, the text that stands in its place, and how that is said where the texts do not say it best."""

    node: ast.AST
    new: str
    said: str = ""


COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
FUNCTIONS = {"max": "min", "min": "max", "any": "all", "all": "any"}
DEFAULTED = ("replace", "Refused", "Principal")
"""What can be called without some of its named arguments; to leave one out elsewhere is a TypeError."""

PLAIN = (ast.Name, ast.Attribute)
TRUTHS = (ast.Name, ast.Attribute, ast.Call, ast.Await)


@dataclass(frozen=True)
class Place:
    """A node with what is around it."""

    node: ast.AST
    parent: ast.AST
    enums: Enums


Operator = Callable[[Place], Iterator[Change]]


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _without(items: Sequence[T], index: int) -> list[T]:
    return [*items[:index], *items[index + 1 :]]


def _swapped(items: Sequence[T], index: int) -> list[T]:
    """The items with one and the next in each other's place."""
    return [*items[:index], items[index + 1], items[index], *items[index + 2 :]]


def comparisons(place: Place) -> Iterator[Change]:
    """`<` becomes `<=`, `==` becomes `!=`."""
    node = place.node
    if isinstance(node, ast.Compare):
        for index, one in enumerate(node.ops):
            ops = [*node.ops[:index], COMPARISONS[type(one)](), *node.ops[index + 1 :]]
            yield Change(node, f"({_text(ast.Compare(node.left, ops, node.comparators))})")


def arithmetic(place: Place) -> Iterator[Change]:
    """`+` becomes `-`."""
    node = place.node
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield Change(node, f"({_text(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})")
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield Change(node, _text(ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield Change(node, f"({_text(node.operand)})")


def constants(place: Place) -> Iterator[Change]:
    """A number is one more or less, a truth the other one, a word another word."""
    if not isinstance(place.node, ast.Constant) or isinstance(place.parent, ast.Expr):
        return
    value = place.node.value
    if isinstance(value, bool):
        yield Change(place.node, repr(not value))
    elif isinstance(value, int):
        yield Change(place.node, repr(value + 1))
        yield Change(place.node, f"({value - 1})")
    elif isinstance(value, str) and not any(character.isspace() for character in value):
        yield Change(place.node, repr(value + "X"))


def decisions(place: Place) -> Iterator[Change]:
    """`and` becomes `or`; what decides by itself is negated."""
    node, parent = place.node, place.parent
    if isinstance(node, ast.BoolOp):
        other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield Change(node, f"({_text(ast.BoolOp(other, node.values))})")
    if isinstance(node, TRUTHS):
        tested = isinstance(parent, ast.If | ast.IfExp | ast.While) and parent.test is node
        filtering = isinstance(parent, ast.comprehension) and node in parent.ifs
        if tested or filtering or isinstance(parent, ast.BoolOp):
            yield Change(node, f"(not {_text(node)})")


def members(place: Place) -> Iterator[Change]:
    """A member of an enumeration becomes the next one."""
    node = place.node
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        known = place.enums.get(node.value.id, [])
        if node.attr in known and len(known) > 1:
            yield Change(node, f"{node.value.id}.{known[(known.index(node.attr) + 1) % len(known)]}")


def entries(place: Place) -> Iterator[Change]:
    """An entry of a table, or an element of a set or of what is looked in, is not there."""
    node = place.node
    if isinstance(node, ast.Dict):
        for index, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            entry = _text(ast.Dict([key], [value]))
            yield Change(node, _text(ast.Dict(_without(node.keys, index), _without(node.values, index))), f"no {entry}")
    elif isinstance(node, ast.Set) and len(node.elts) > 1:
        for index in range(len(node.elts)):
            yield Change(node, _text(ast.Set(_without(node.elts, index))), f"no {_text(node.elts[index])}")
    elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and isinstance(place.parent, ast.Compare):
        for index in range(len(node.elts)):
            yield Change(node, f"({_text(ast.Tuple(_without(node.elts, index), node.ctx))})")


def statements(place: Place) -> Iterator[Change]:
    """What a statement does is not done: a refusal, a call, a change of an object, an answer."""
    node = place.node
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)
    kept = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    if called or kept or isinstance(node, ast.Raise | ast.Delete):
        yield Change(node, "pass")
    elif isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant | None):
        yield Change(node, "return None")
    elif isinstance(node, ast.Continue):
        yield Change(node, "break")


def arguments(place: Place) -> Iterator[Change]:
    """An argument is left out, or changes places with its neighbour; `max` becomes `min`."""
    node = place.node
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in FUNCTIONS:  # which do not mind the order
        yield Change(node.func, FUNCTIONS[name])
        return
    if name in DEFAULTED:
        for index in range(len(node.keywords)):
            left_out = f"{name}(…) without {_text(node.keywords[index])}"
            yield Change(node, _text(ast.Call(node.func, node.args, _without(node.keywords, index))), left_out)
    for index, (one, other) in enumerate(itertools.pairwise(node.args)):
        if _may_swap(place, one, other):
            yield Change(node, _text(ast.Call(node.func, _swapped(node.args, index), node.keywords)))
    for index, (first, second) in enumerate(itertools.pairwise(node.keywords)):
        if _may_swap(place, first.value, second.value):
            swapped = [ast.keyword(first.arg, second.value), ast.keyword(second.arg, first.value)]
            keywords = [*node.keywords[:index], *swapped, *node.keywords[index + 2 :]]
            yield Change(node, _text(ast.Call(node.func, node.args, keywords)))


def _may_swap(place: Place, *both: ast.expr) -> bool:
    """Whether both are plain values, and not the same: members of enumerations are changed by themselves."""
    plain = all(isinstance(one, PLAIN) and not [*members(Place(one, place.node, place.enums))] for one in both)
    return plain and len({_text(one) for one in both}) > 1


OPERATORS: tuple[Operator, ...] = (
    comparisons, arithmetic, constants, decisions, members, entries, statements, arguments,
)  # fmt: skip
