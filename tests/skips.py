"""Ends a test run by naming every test that was skipped, and why: what was not run was not shown.

Loaded with `-p tests.skips`. With COMPTOIR_NOTHING_SKIPPED in the environment the run fails where a test was skipped
because the machine lacks something: where a change is judged, the machine must have it.
"""

from __future__ import annotations

import os

import pytest

from tests.support.kernel import LACKING


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.section(f"{len(skipped)} skipped" if skipped else "nothing skipped")
    for report in sorted(skipped, key=lambda report: report.nodeid):
        terminalreporter.line(f"{report.nodeid}: {reason(report)}")
    if found := _forbidden(terminalreporter):
        terminalreporter.line(f"{len(found)} of them for what this machine lacks: here that is a failure", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(reporter, pytest.TerminalReporter) and _forbidden(reporter):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _forbidden(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    """The skips that are failures here."""
    if not os.environ.get("COMPTOIR_NOTHING_SKIPPED"):
        return []
    return [report for report in reporter.stats.get("skipped", []) if LACKING in reason(report)]


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test, or a whole file, was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
