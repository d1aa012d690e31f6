"""A coroutine that was begun on the spot, for what most often answers without waiting for anything."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """The rest of a coroutine that waits for something; to be awaited at once, by the task that began it.

    Making it raises StopIteration with the answer where the coroutine has waited for nothing, and what it raises
    itself: then no deadline need be watched, which costs more than many a read.
    """

    __slots__ = ("_steps", "_wish")

    def __init__(self, steps: Coroutine[Any, Any, T]) -> None:
        self._steps = steps
        self._wish = steps.send(None)

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            while True:
                try:
                    value = yield self._wish
                except GeneratorExit:
                    self._steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - a cancellation, or a wait that failed, is the coroutine's
                    self._wish = self._steps.throw(error)
                else:
                    self._wish = self._steps.send(value)
        except StopIteration as answered:
            return answered.value  # type: ignore[no-any-return]
