"""Every invariant of the platform, ready to be checked on any database of it.

Codes: L the ledger, C and K payments and checkouts, E events, M messages, W wallets, A whose rows they are and what
must not stand in them, S how rows are stored. Not decided here is what the present tables hold nothing of (checkpoints,
floors, hash chains), and what is a promise about calls and streams: that is tested where it is made.
"""

from __future__ import annotations

from comptoir_server.store.checks.runner import (
    INVARIANTS,
    Finding,
    Moved,
    Report,
    check_connection,
    check_database,
    compare_books,
)

__all__ = ["INVARIANTS", "Finding", "Moved", "Report", "check_connection", "check_database", "compare_books"]
