"""Every invariant of the platform, ready to be checked on any database of it."""

from __future__ import annotations

from comptoir_server.store.checks.runner import INVARIANTS, Finding, Moved, Report, check_database, compare_books

__all__ = ["INVARIANTS", "Finding", "Moved", "Report", "check_database", "compare_books"]
