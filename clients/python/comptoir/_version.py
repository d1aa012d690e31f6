"""The version of this package, as its wheel states it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("comptoir")
    except PackageNotFoundError:
        return "unreleased"


__version__ = _installed()
