"""What the store raises; nothing of SQLAlchemy or of a driver leaves this package."""

from __future__ import annotations


class StorageUnavailable(Exception):
    """The database cannot be used now: connection lost, disk full, a row or the file held by somebody else.

    Nothing of the work was written, unless `in_doubt` is true: then COMMIT was sent, its answer was lost, and the
    database could not be asked in time whether it took effect. Doing the same work again under the same request id
    is safe in both cases.
    """

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt


class IntegrityError(Exception):
    """A CHECK, UNIQUE, NOT NULL or FOREIGN KEY constraint refused what this work wrote; nothing was written."""
