"""Records: frozen dataclasses that are cheap to make and to change, for there are dozens of them in every payment.

A frozen dataclass sets each field through `object.__setattr__`, and `dataclasses.replace` goes through all of its
fields in Python: together they were a sixth of what a payment cost. A record writes its fields into its dictionary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

R = TypeVar("R")

_new = object.__new__


@dataclass_transform(frozen_default=True)
def record(cls: type[R]) -> type[R]:
    """Makes `cls` a frozen dataclass whose `__init__` takes the same arguments as a dataclass's."""
    made = dataclasses.dataclass(frozen=True, init=False)(cls)
    made.__init__ = _initializer(made)  # type: ignore[method-assign]
    return made


def replace(one: R, **changes: Any) -> R:
    """A copy of a record with other values in some fields. TypeError for a field that it does not have."""
    before = one.__dict__
    copy = _new(type(one))
    after = copy.__dict__
    after.update(before)
    after.update(changes)
    if len(after) != len(before):
        raise TypeError(f"{type(one).__name__} has no field {', '.join(sorted(after.keys() - before.keys()))}")
    return copy


def _initializer(cls: type[Any]) -> Callable[..., None]:
    """An `__init__` compiled from the names of the fields, as dataclasses compiles its own."""
    fields = dataclasses.fields(cls)
    names: dict[str, Any] = {}
    parameters = ["self"]
    for field in fields:
        if field.default_factory is not dataclasses.MISSING:
            raise TypeError(f"{cls.__name__}.{field.name}: a record's default is a value that never changes")
        if field.default is dataclasses.MISSING:
            parameters.append(field.name)
        else:
            names[f"_{field.name}"] = field.default
            parameters.append(f"{field.name}=_{field.name}")
    lines = [f"def __init__({', '.join(parameters)}):", " fields = self.__dict__"]
    lines += [f" fields[{field.name!r}] = {field.name}" for field in fields]
    exec("\n".join(lines), names)  # noqa: S102 - of nothing but the names of fields, once a class
    made: Callable[..., None] = names["__init__"]
    return made
