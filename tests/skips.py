"""Ends a test run by naming every test that was skipped, and why: what was not run was not shown.

Loaded with `-p tests.skips`.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.section(f"{len(skipped)} skipped" if skipped else "nothing skipped")
    for report in sorted(skipped, key=lambda report: report.nodeid):
        terminalreporter.line(f"{report.nodeid}: {reason(report)}")


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test, or a whole file, was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
