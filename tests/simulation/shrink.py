"""Making a failing world smaller: what is left out of it is not what made it fail."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.plan import Plan

RUNS_MAX = 80


def kind_of(violation: str) -> str:
    """What kind of failure it is: the same in a smaller world, whatever the ids and amounts in it are."""
    words = violation.split()
    return " ".join(words[:2]) if words[0] in {"invariant", "log:", "task", "stuck:"} else words[0]


def shrink(plan: Plan, kind: str, violations: Callable[[Plan], list[str]], runs_max: int = RUNS_MAX) -> tuple[str, ...]:
    """What can be left out of a plan so that its world still fails in this way; halves first, then one by one."""
    dropped: tuple[str, ...] = ()
    runs = 0

    def still_fails(more: tuple[str, ...]) -> bool:
        nonlocal runs
        runs += 1
        return kind in {kind_of(violation) for violation in violations(plan.without((*dropped, *more)))}

    size = max(1, len(plan.parts) // 2)
    while runs < runs_max:
        left = plan.without(dropped).parts
        groups = [left[start : start + size] for start in range(0, len(left), size)]
        progress = False
        for group in groups:
            if runs < runs_max and still_fails(group):
                dropped += group
                progress = True
        if size == 1 and not progress:
            break
        size = max(1, size // 2)
    return dropped
