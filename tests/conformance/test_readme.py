"""The README's commands work as they stand there, in the order in which they stand there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from comptoir_server.demo.browser import Browser
from comptoir_server.runtime import Runtime
from tests.support.turns import DOCUMENTED_PORTS, turn

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
LINES_MAX = 150
START_SECONDS = 60

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
MAKE = [text for text in SHELL if text.startswith("make ")]
CHAT = [text for text in SHELL if "comptoir chat" in text]
BY_HAND = [text for text in SHELL if text not in MAKE and text not in CHAT]
BOTS = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which `make run` runs, as far as commands in it can tell."""
    place = tmp_path_factory.mktemp("readme")
    (place / ".venv").symlink_to(sys.prefix)
    with turn(DOCUMENTED_PORTS):
        command = [f"{sys.prefix}/bin/comptoir-server", "demo", "--keep"]
        with (place / "run.log").open("w") as log:
            run = subprocess.Popen(command, cwd=place, stdout=log, stderr=log)
        try:
            _wait_for(run, place / "run.log")
            yield place
        finally:
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 0


def _wait_for(run: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Running; Ctrl-C" not in log.read_text(encoding="utf-8"):
        assert run.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def test_the_readme_is_short_and_every_block_of_it_is_known_to_a_test() -> None:
    assert len(README.splitlines()) <= LINES_MAX
    assert [text.strip() for text in MAKE] == ["make demo", "make test"]
    assert (len(CHAT), len(BY_HAND), len(BOTS)) == (1, 4, 1)
    assert {language for language, _ in BLOCKS} == {"sh", "python", ""}


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))

    assert set(re.findall(r"`?make (\w+)", README)) <= targets


def test_a_whole_purchase_is_made_by_hand(folder: Path) -> None:
    script = "set -eu\n" + "\n".join(BY_HAND)
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    said = ""
    while not (link := re.search(r"^Open (http\S+)$", said, flags=re.MULTILINE)):
        line = shell.stdout.readline()
        assert line, said
        said += line

    rest, _ = shell.communicate(asyncio.run(_approve(link[1])) + "\n", timeout=60)

    assert shell.returncode == 0, said + rest
    assert "comptoir.v1.CheckoutService" in said
    assert '"state": "STATE_COMPLETED"' in rest
    assert '"state": "STATE_CAPTURED"' in rest
    assert '"type": "checkout.completed"' in rest
    refunds = [text for text in re.findall(r'"refunded": \{[^}]*\}', rest) if '"100"' in text]
    assert refunds, rest


async def _approve(link: str) -> str:
    """What a person does in their browser; answers the code that they are shown."""
    async with Browser(Runtime()) as browser:
        page = await browser.open(link)
        page = await browser.press(page, next(iter(page.forms[0].buttons)))
        agree = next(button for button in page.forms[0].buttons if "ancel" not in button)
        return (await browser.press(page, agree)).output


def test_the_bot_can_be_talked_to_in_a_terminal(folder: Path) -> None:
    command = CHAT[0].strip().splitlines()
    chat = subprocess.Popen(
        ["bash", "-c", "\n".join(command)], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert chat.stdin is not None
    assert chat.stdout is not None
    said = ""
    while "Lisbon" not in said:
        line = chat.stdout.readline()
        assert line, said
        said += line

    chat.stdin.close()

    assert chat.wait(30) == 0
    chat.stdout.close()
    assert "Comptoir Air" in said


def test_the_bot_of_the_readme_sells_an_espresso(folder: Path) -> None:
    known = dict(line.split("=", 1) for line in (folder / ".comptoir" / "env").read_text().splitlines())
    program = folder / "coffee.py"
    program.write_text(BOTS[0].replace("cmp_test_…", known["KEY"]).replace("127.0.0.1:7600", known["TARGET"]))
    bot = subprocess.Popen([sys.executable, program], cwd=folder)
    try:
        session = _call(known, "CHANNEL_KEY", "SessionService/OpenSession", {"request_id": "1", "bot_id": known["BOT"]})
        session_id = session["session"]["session_id"]
        words = {"request_id": "2", "session_id": session_id, "content": {"text": {"text": "A coffee, please"}}}
        _call(known, "CHANNEL_KEY", "SessionService/SendMessage", words)

        deadline = time.monotonic() + START_SECONDS
        totals: list[str] = []
        while "250" not in totals:
            assert time.monotonic() < deadline, "the bot asked for no money"
            found = _call(known, "KEY", "CheckoutService/ListCheckouts", {"session_id": session_id})
            totals = [checkout["total"]["minor_units"] for checkout in found.get("checkouts", [])]
            time.sleep(0.2)
    finally:
        bot.send_signal(signal.SIGINT)
        bot.wait(30)


def _call(known: dict[str, str], key: str, method: str, request: Mapping[str, object]) -> Any:
    """One call with grpcurl; a channel speaks for a person whom it registers first."""
    headers = ["-H", f"authorization: Bearer {known[key]}"]
    if key == "CHANNEL_KEY":
        person = {"channel_user_id": "reader", "market": "US"}
        user = _grpcurl(known, headers, "UserService/RegisterUser", person)["user"]["user_id"]
        headers += ["-H", f"comptoir-user: {user}"]
    return _grpcurl(known, headers, method, request)


def _grpcurl(known: dict[str, str], headers: list[str], method: str, request: Mapping[str, object]) -> Any:
    command = ["grpcurl", "-plaintext", *headers, "-d", json.dumps(request), known["TARGET"], f"comptoir.v1.{method}"]
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=30, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
