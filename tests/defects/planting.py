"""Ways to break the server on purpose, in this process and for as long as it lives.

Each way fails where there is nothing left to break: a defect that was not planted would be caught by nobody.
"""

from __future__ import annotations
import __future__

import inspect
import sys
from collections.abc import Callable
from typing import Any

SERVER = "comptoir_server"
_FLAGS = __future__.annotations.compiler_flag
_SOURCES: dict[Callable[..., Any], str] = {}
"""What rewritten functions are by now."""


class Unplantable(Exception):
    """The server no longer has what the defect would break; the defect is to be written anew."""


def rewrite(function: Callable[..., Any], old: str, new: str) -> None:
    """Runs `function` with `old`, which its source holds exactly once, replaced by `new`; for whoever calls it."""
    source = _SOURCES.get(function) or inspect.getsource(function)
    if source.count(old) != 1:
        raise Unplantable(f"{function.__qualname__} holds {source.count(old)} times: {old}")
    _SOURCES[function] = source = source.replace(old, new)
    broken: Any = function
    made: dict[str, Any] = {}
    nested = f"if True:\n{source}" if source.startswith(" ") else source
    exec(compile(nested, f"<{function.__qualname__}, defective>", "exec", _FLAGS), function.__globals__, made)
    found: Any = made[function.__name__]
    broken.__code__ = getattr(found, "fget", found).__code__


def swap(owner: Any, name: str, value: Any) -> None:
    """Gives an attribute of a module or class another value, also where other modules imported it by name."""
    if not hasattr(owner, name):
        raise Unplantable(f"{owner!r} has no {name}")
    before = getattr(owner, name)
    setattr(owner, name, value)
    for module in [module for key, module in sys.modules.items() if key.startswith(SERVER)]:
        if module is not owner and getattr(module, name, None) is before:
            setattr(module, name, value)


def put(table: Any, key: Any, value: Any) -> None:
    """Changes an entry of a table that is there, or adds one."""
    if key in table and table[key] == value:
        raise Unplantable(f"{key} is {value} already")
    table[key] = value


def take(table: Any, key: Any) -> None:
    """Removes an entry of a table."""
    if key not in table:
        raise Unplantable(f"there is no {key}")
    del table[key]


def drop_constraint(relation: Any, name: str) -> None:
    """Has tables be made without one CHECK, UNIQUE or foreign key, or without one unique index."""
    table = relation.table
    for kind in (table.constraints, table.indexes):
        for one in [one for one in kind if one.name == name]:
            kind.discard(one)
            return
    raise Unplantable(f"{relation.name} has no {name}")
