"""Runs tests against a server with planted defects: `pytest -p tests.defects.plugin --defect NAME TEST`.

Server processes that the tests start have them too.
"""

from __future__ import annotations

import os

import pytest

from tests.defects.registry import plant


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--defect", action="append", default=[], help="the name of a defect to plant; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    os.environ |= plant(config.getoption("--defect"))
