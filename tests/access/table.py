"""The matrix as a table: methods down, who knocks across, and how often each was told what."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.access.identities import GROUPS
from tests.access.matrix import Cell

SHORT = {
    "CREDENTIAL_INVALID": "invalid",
    "CREDENTIAL_EXPIRED": "expired",
    "PARTNER_SUSPENDED": "suspended",
    "SCOPE_MISSING": "scope",
    "NOT_FOUND": "absent",
    "FIELD_INVALID": "field",
    "UNIMPLEMENTED": "none here",
}
"""Reasons as they stand in the table."""


def counted(cells: Sequence[Cell]) -> dict[str, dict[str, Counter[str]]]:
    """How often who was told what, by method and group, in the order of the cells."""
    rows: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for cell in cells:
        rows[cell.method][cell.group][SHORT.get(cell.outcome, cell.outcome)] += 1
    return rows


def printed(cells: Sequence[Cell]) -> None:
    """Prints the table: drawn in a terminal, a line a method and group where it is piped."""
    rows = counted(cells)
    if not sys.stdout.isatty():
        for method, groups in rows.items():
            for group in GROUPS:
                if groups[group]:
                    print(method, group, _words(groups[group]), sep="\t")
        return
    table = Table(title=f"{len(cells)} cells", show_lines=True)
    table.add_column("method", no_wrap=True)
    for group in GROUPS:
        table.add_column(group)
    for method, groups in rows.items():
        table.add_row(method, *(_words(groups[group]).replace(", ", "\n") for group in GROUPS))
    Console().print(table)


def _words(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
