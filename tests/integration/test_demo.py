"""`comptoir-server demo` as people run it: the whole product in processes of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comptoir import Client
from comptoir.v1 import GetBotProfileRequest
from comptoir_server.demo.command import STANDIN_PORT
from comptoir_server.runtime import usable_ports
from tests.support.turns import DOCUMENTED_PORTS, turn

COMMAND = (sys.executable, "-m", "comptoir_server.cli", "demo")
PLAY_SECONDS = 200.0

pytestmark = pytest.mark.timeout(300)

SEEN_IN_ORDER = (
    "You came from our offer “Lisbon for two”.",
    "Link PayPal",
    "One last step: type the code into the chat",
    "PayPal a•••@example.com is linked.",
    "Pay {two_to_lisbon} with PayPal a•••@example.com",
    "Paid to Comptoir Air",
    "Comptoir Air · boarding pass",
    "Pay {two_to_paris} with PayPal a•••@example.com",
    "Bea Potter cannot fly",
    "Given back: {one_to_paris}",
    "Nothing was charged.",
    "No harm done",
    "Paid to Comptoir Air",
    "is being confirmed.",
    "Please do not pay again",
    "Paid to Comptoir Air",
    "captured: {all_four} in 4, in the ledger and in PayPal's own books",
    "refunded: {one_to_paris} in 1, in the ledger and in PayPal's own books",
    "rows examined: all hold.",
)
"""What a person reads, in this order; amounts as in the locale."""

AMOUNTS = {
    "en-US": {
        "two_to_lisbon": "$240.00",
        "two_to_paris": "$318.00",
        "one_to_paris": "$159.00",
        "all_four": "$1,116.00",
    },
    "de-DE": {
        "two_to_lisbon": "240,00 $",
        "two_to_paris": "318,00 $",
        "one_to_paris": "159,00 $",
        "all_four": "1.116,00 $",
    },
}


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, with its temporary files below `folder`; ended however it goes."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def group_lives(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def read_until(process: subprocess.Popen[str], part: str) -> str:
    """What the command says up to the line that holds `part`; the whole of it where no line does."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if part in line:
            break
    return said


def in_order(said: str, parts: tuple[str, ...]) -> list[str]:
    """The parts that do not come in `said` after those before them; lines broken by a frame count as one."""
    text = re.sub(r"\s*│\n│\s*|\s+", " ", said)
    missing, place = [], 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            missing.append(part)
        place = max(place, found + len(part))
    return missing


def test_parts_that_are_missing_or_out_of_order_are_noticed() -> None:
    assert in_order("│ one two │\n│ three │\nfour", ("two three", "four")) == []
    assert in_order("one two", ("two", "one", "three")) == ["one", "three"]


@pytest.mark.parametrize("locale", ["en-US", "de-DE"])
def test_the_demo_plays_every_act_and_leaves_nothing_behind(tmp_path: Path, locale: str) -> None:
    seen = tuple(part.format(**AMOUNTS[locale]) for part in SEEN_IN_ORDER)
    with started(tmp_path, "--locale", locale) as process:
        said, _ = process.communicate(timeout=PLAY_SECONDS)

        assert process.returncode == 0, said
        assert in_order(said, seen) == []
        assert not group_lives(process.pid)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("send", "number", "code"),
    [(os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGTERM, 143)],
    ids=["Ctrl-C", "kill"],
)
def test_a_demo_that_is_interrupted_ends_everything(
    tmp_path: Path, send: Callable[[int, int], None], number: int, code: int
) -> None:
    with started(tmp_path) as process:
        said = read_until(process, "Starting the airline's bot")
        send(process.pid, number)
        rest, _ = process.communicate(timeout=PLAY_SECONDS)

        assert process.returncode == code, said + rest
        assert "Interrupted; everything has ended." in rest
        assert not group_lives(process.pid)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_fails_says_what_failed_and_shows_the_log(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/absent/comptoir.db"
    with started(tmp_path, "--database", database) as process:
        said, _ = process.communicate(timeout=PLAY_SECONDS)

        assert process.returncode == 1
        assert "`comptoir-server keys create` ended with exit code" in said
        assert "keys.log" in said
        assert not group_lives(process.pid)


def test_a_process_that_falls_ends_everything_and_is_named(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        read_until(process, "Starting the airline's bot")
        os.kill(child_of(process.pid, "-m airline"), signal.SIGKILL)
        said, _ = process.communicate(timeout=PLAY_SECONDS)

        assert process.returncode == 1
        assert "The airline ended by itself." in said
        assert "server.log" in said
        assert not group_lives(process.pid)


def child_of(parent: int, part: str) -> int:
    """The process id of the child of `parent` with `part` in its command line."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return next(int(pid) for pid, ppid, command in rows if int(ppid) == parent and part in command)


@pytest.fixture
def _ports() -> Iterator[None]:
    with turn(DOCUMENTED_PORTS):
        yield


@pytest.mark.parametrize("locale", ["xx-YY", "none at all"])
def test_a_locale_that_nobody_knows_is_refused_before_anything_starts(tmp_path: Path, locale: str) -> None:
    with started(tmp_path, "--locale", locale) as process:
        said, _ = process.communicate(timeout=PLAY_SECONDS)

        assert process.returncode == 2
        assert f"--locale '{locale}' is not known" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_ports")
def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if usable(STANDIN_PORT):
            other.bind(("127.0.0.1", STANDIN_PORT))
            other.listen()
        with started(tmp_path, "--keep") as process:
            said, _ = process.communicate(timeout=PLAY_SECONDS)

            assert process.returncode == 2
            assert re.fullmatch(r"Port \d+ is taken, perhaps by another `make run`: .+\n", said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_ports")
def test_kept_servers_answer_until_they_are_interrupted_and_keep_their_keys(tmp_path: Path) -> None:
    if not all(usable(port) for port in (7600, 7680, STANDIN_PORT)):
        pytest.skip("something else listens on the documented ports 7600, 7680 and 7610")
    keys = []
    for _ in range(2):
        with started(tmp_path, "--keep") as process:
            said = read_until(process, "Ctrl-C ends everything")
            bot_id = re.search(r"COMPTOIR_BOT=(bot_\w+)", said)
            channel = re.search(r"COMPTOIR_KEY=(\S+)", said)
            assert bot_id, said
            assert channel, said
            with Client("127.0.0.1:7600", channel[1]) as client:
                profile = client.partners.get_bot_profile(GetBotProfileRequest(bot_id=bot_id[1])).profile
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=PLAY_SECONDS)

            assert profile.display_name == "Comptoir Air"
            assert process.returncode == 0, said + rest
            assert not group_lives(process.pid)
        keys.append(channel[1])

    assert keys[0] == keys[1]


def usable(port: int) -> bool:
    try:
        usable_ports("127.0.0.1", (port,))
    except OSError:
        return False
    return True
