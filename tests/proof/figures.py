"""Adding up what several series found."""

from __future__ import annotations

Figures = dict[str, int | float]


def added(sum_of: Figures, more: Figures) -> Figures:
    """Counts, which are whole numbers, are summed up; of anything else the greater one is kept."""
    together = dict(sum_of)
    for name, value in more.items():
        before = together.get(name, 0)
        together[name] = max(before, value) if isinstance(value, float) else before + value
    return together
