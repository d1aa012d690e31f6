"""What was measured, as tables and bars for the terminal and as figures for a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

BAR_COLUMNS = 40
LABEL_COLUMNS = 34


@dataclass(frozen=True)
class Target:
    """What the project asks of itself: a figure, on all databases or on one, at least or at most so much."""

    figure: str
    words: str
    at_least: bool
    limit: float
    database: str = ""

    @property
    def asked(self) -> str:
        """The limit, in short."""
        return f"{'>=' if self.at_least else '<='} {self.limit:.2f}"

    def is_met(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


TARGETS = (
    Target("confirm.rate_to_empty", "confirm over gRPC / empty RPC", True, 0.55, "sqlite"),
    Target("confirm.rate_to_tpc_b", "confirm / pgbench TPC-B", True, 0.8, "postgresql"),
    Target("read.rate_to_empty", "read by id / empty RPC", True, 0.75),
    Target("confirm.cpu_to_empty", "server CPU of a confirm / of an empty RPC", False, 2.0),
)


@dataclass(frozen=True)
class Section:
    """What one part showed: rows for people, bars to compare by eye, and every figure by its name."""

    part: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: dict[str, float]
    bars: dict[str, float] = field(default_factory=dict)
    bars_of: str = ""
    notes: Sequence[str] = ()


@dataclass
class Report:
    """All sections, by database."""

    sections: list[tuple[str, Section]] = field(default_factory=list)

    def add(self, database: str, section: Section, console: Console) -> None:
        """Takes a section and shows it."""
        self.sections.append((database, section))
        console.print(f"{database}: {section.title}", style="bold", highlight=False)
        table = Table()
        for number, heading in enumerate(section.headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
        show_bars(console, section)
        for note in section.notes:
            console.print(Padding(note, (0, 2)), style="dim", highlight=False)
        console.print()

    def judged(self) -> list[tuple[str, Target, float, bool]]:
        """Every target that was measured, with what it came to."""
        return [
            (database, target, section.figures[target.figure], target.is_met(section.figures[target.figure]))
            for target in TARGETS
            for database, section in self.sections
            if target.figure in section.figures and target.database in ("", database)
        ]

    def show_targets(self, console: Console) -> None:
        """What the project asks of itself, and whether it was met here and now."""
        judged = self.judged()
        if not judged:
            return
        console.print("what the project asks of itself", style="bold")
        table = Table()
        for number, heading in enumerate(("ratio", "database", "asked", "measured", "")):
            table.add_column(heading, justify="right" if number in (2, 3) else "left")
        for database, target, value, met in judged:
            table.add_row(target.words, database, target.asked, f"{value:.2f}", "met" if met else "not met")
        console.print(table)

    def write(self, path: Path, scale: Any) -> None:
        """All figures as JSON."""
        judged = [
            {"figure": target.figure, "database": database, "limit": target.limit, "value": value, "met": met}
            for database, target, value, met in self.judged()
        ]
        sections = [
            {"database": database, "part": section.part, "title": section.title, "figures": section.figures}
            for database, section in self.sections
        ]
        about = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_average": list(os.getloadavg()),
        }
        whole = {"about": about, "scale": asdict(scale), "sections": sections, "targets": judged}
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def show_bars(console: Console, section: Section) -> None:
    """Horizontal bars, the longest as wide as there is room."""
    longest = max(section.bars.values(), default=0.0)
    if longest <= 0:
        return
    console.print(f"  {section.bars_of}", highlight=False)
    for name, value in section.bars.items():
        bar = "█" * max(round(value / longest * BAR_COLUMNS), 1 if value > 0 else 0)
        console.print(f"  {name:<{LABEL_COLUMNS}} {bar} {_short(value)}", highlight=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
