"""Tests that notice something, or nothing: what the instrument must tell apart. They are in no run but their own."""

from __future__ import annotations

from comptoir_server.domain import requests


def test_that_looks_at_a_number() -> None:
    assert requests.KEEP_SECONDS == 2_592_000


def test_that_looks_at_nothing() -> None:
    requests.request_key("prt_1", "Test", "one")


def test_that_fails_without_any_mutant() -> None:
    assert requests.KEEP_SECONDS == 0
