"""The one way in which the demonstration ends early."""

from __future__ import annotations


class Failure(Exception):
    """Something that had to happen did not; the message says what, in one sentence."""
