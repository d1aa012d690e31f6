"""The command `comptoir`: what it prints, and what its exit codes mean."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import grpc
import pytest

from comptoir import ComptoirError, cli, commands
from tests.support.scripted_comptoir import ScriptedServer, event, refusal_details


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        monkeypatch.setenv("COMPTOIR_TARGET", server.target)
        monkeypatch.setenv("COMPTOIR_KEY", "cmp_test_key")
        yield server


def run(*arguments: str) -> int:
    """Runs the command as the shell would; answers its exit code."""
    before, sys.argv = sys.argv, ["comptoir", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


async def test_events_are_listed_as_json_lines_across_pages(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LARGEST_PAGE", 2)
    await server.happen(*(event(number) for number in range(1, 7)))

    code = await asyncio.to_thread(run, "events", "--json", "--limit", "5")

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [each["event_id"] for each in printed] == ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]
    assert printed[0]["message"] == {"content": {"text": {"text": "words 1"}}}
    assert server.ack_history == []


async def test_an_event_is_one_line_for_people(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    happened = event(1, kind="checkout.completed")
    happened.create_time.FromJsonString("2026-11-24T00:12:01Z")
    await server.happen(happened, event(2))

    code = await asyncio.to_thread(run, "events", "--type", "checkout.completed")

    assert code == 0
    assert capsys.readouterr().out.split() == ["2026-11-24T00:12:01Z", "checkout.completed", "ses_a", "evt_1"]


async def test_a_key_that_is_refused_ends_listening_with_code_4(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse("ListEvents", grpc.StatusCode.UNAUTHENTICATED, refusal_details("CREDENTIAL_INVALID"))

    code = await asyncio.to_thread(run, "listen")

    assert code == 4
    assert capsys.readouterr().err == "comptoir: CREDENTIAL_INVALID: refused by script\n"
    assert server.subscriptions == []


async def test_listening_prints_each_event_and_acknowledges_it(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    listening = asyncio.ensure_future(asyncio.to_thread(run, "listen", "--json", "--type", "message.received"))
    await server.happen(event(1), event(2, kind="checkout.opened"), event(3))
    await server.until_acked("000002", "listen")
    expired = refusal_details("CREDENTIAL_EXPIRED")
    server.refuse("StreamEvents", grpc.StatusCode.UNAUTHENTICATED, expired)
    server.end_streams()

    assert await listening == 4
    captured = capsys.readouterr()
    assert [json.loads(line)["event_id"] for line in captured.out.splitlines()] == ["evt_1", "evt_3"]
    assert captured.err.splitlines()[-1] == "comptoir: CREDENTIAL_EXPIRED: refused by script"


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.NOT_FOUND, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.UNAVAILABLE, 3),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 3),
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
    ],
)
def test_the_exit_code_says_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, exit_code: int
) -> None:
    def refused(*_: object) -> None:
        raise ComptoirError("no", reason=code.name, code=code)

    monkeypatch.setattr(commands, "_connect", refused)

    assert run("events", "--key", "cmp_test_key") == exit_code


def test_wrong_arguments_end_with_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPTOIR_KEY", raising=False)

    assert run("events") == 2
    assert run("events", "--key", "with space") == 2
    assert run("events", "--key", "key", "--limit", "0") == 2


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "comptoir.commands", raising=False)
    monkeypatch.delattr("comptoir.commands", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)

    assert run("events") == 2
    assert capsys.readouterr().err == "comptoir: typer is not installed; run: pip install 'comptoir[chat]'\n"
