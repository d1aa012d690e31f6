"""Showing what was checked."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from comptoir_server.store.checks.runner import Report

SHOWN_MAX = 5
"""How many of the rows that break a rule are named."""


def print_report(report: Report, *, as_json: bool) -> None:
    """Every invariant with the rows it examined and those that break it; a table, or one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(report.plain()) + "\n")
        return
    console = Console()
    if report.failure:
        console.print(report.failure, style="red")
        return
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("rows", "right"), ("invariant", "left"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for finding in report.findings:
        shown = ", ".join(finding.broken[:SHOWN_MAX])
        style = ("yellow" if finding.is_warning else "red") if finding.broken else ""
        verb = "look at" if finding.is_warning else "broken by"
        words = f"{verb} {shown}" if finding.broken else "holds"
        table.add_row(finding.invariant.code, f"{finding.examined:,}", finding.invariant.words, words, style=style)
    console.print(table)
    broken = len(report.broken)
    rows = sum(finding.examined for finding in report.findings)
    verdict = f"{broken} of them are broken" if broken else "all hold"
    console.print(f"{len(report.findings)} invariants, {rows:,} rows examined: {verdict}.")
