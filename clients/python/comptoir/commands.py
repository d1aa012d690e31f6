"""What the command `comptoir` can do.

Exit codes: 0 done, 1 the server refused, 2 wrong arguments, 3 no server could be reached, 4 the key was refused,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToJson

from comptoir.cli import USAGE, missing_extra
from comptoir.client import Client
from comptoir.errors import ComptoirError
from comptoir.v1 import Event, ListEventsRequest

REFUSED = 1
EXIT_CODES = {
    grpc.StatusCode.UNAVAILABLE: 3,
    grpc.StatusCode.DEADLINE_EXCEEDED: 3,
    grpc.StatusCode.UNAUTHENTICATED: 4,
    grpc.StatusCode.PERMISSION_DENIED: 4,
}
INTERRUPTED = 130

LARGEST_PAGE = 1000

Target = Annotated[str, typer.Option(envvar="COMPTOIR_TARGET", help="HOST:PORT or unix:PATH of the server.")]
Key = Annotated[str, typer.Option(envvar="COMPTOIR_KEY", help="An API key; better in the environment than here.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Cursor = Annotated[str, typer.Option(help="Only events behind this cursor.")]
EventType = Annotated[str, typer.Option("--type", help="Only events of this type, such as checkout.completed.")]

DEFAULT_TARGET = "127.0.0.1:7600"

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Payments inside a conversation.")


@app.command()
def listen(
    key: Key,
    target: Target = DEFAULT_TARGET,
    consumer: Annotated[
        str, typer.Option(help="The name under which the server keeps how far was read; not that of a running bot.")
    ] = "listen",
    cursor: Cursor = "",
    event_type: EventType = "",
    as_json: Json = False,
) -> None:
    """Follow the log: each event as it happens, and first those that this consumer did not see yet."""
    with _connect(target, key) as client:
        # A stream waits for its server for ever: a wrong address or key is told at once instead.
        client.events.list_events(ListEventsRequest(cursor=cursor, page_size=1))
        try:
            with client.events.stream(consumer, cursor=cursor) as events:
                for event in events:
                    if event_type in ("", event.type):
                        print(line(event, as_json), flush=True)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


@app.command()
def events(
    key: Key,
    target: Target = DEFAULT_TARGET,
    cursor: Cursor = "",
    event_type: EventType = "",
    session: Annotated[str, typer.Option(help="Only events of this session.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List what happened, oldest first; acknowledges nothing."""
    with _connect(target, key) as client:
        while limit > 0:
            request = ListEventsRequest(
                cursor=cursor, type=event_type, session_id=session, page_size=min(limit, LARGEST_PAGE)
            )
            page = client.events.list_events(request)
            for event in page.events:
                print(line(event, as_json))
            if len(page.events) < request.page_size:
                return
            limit -= len(page.events)
            cursor = page.next_cursor


def line(event: Event, as_json: bool) -> str:
    """An event in one line: as JSON with the names of the contract, or when, what, where and its id."""
    if as_json:
        return MessageToJson(event, preserving_proto_field_name=True, indent=None)
    return f"{event.create_time.ToJsonString()}  {event.type:<24}  {event.session_id or '-':<30}  {event.event_id}"


def run() -> None:
    """Runs the command and ends the process."""
    try:
        app()
    except ComptoirError as error:
        print(f"comptoir: {error}", file=sys.stderr)
        sys.exit(EXIT_CODES.get(error.code, REFUSED))


def _connect(target: str, key: str) -> Client:
    try:
        return Client(target, key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _chat_command() -> Callable[..., None]:
    """The chat, or a command that says what it needs."""
    try:
        command: Callable[..., None] = import_module("comptoir.chat").command
    except ModuleNotFoundError as error:
        explanation = missing_extra("comptoir chat", error)

        def explain() -> None:
            """Talk to a bot in the terminal."""
            print(explanation, file=sys.stderr)
            raise typer.Exit(USAGE)

        return explain
    return command


app.command("chat")(_chat_command())
