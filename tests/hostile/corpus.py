"""Hostile calls that were wrong once, kept as small as they were found, and made again before anything else.

Ids and secrets in them are named by where they came from, so that they mean the same in every place.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comptoir_server.app.call import Caller
from tests.hostile.inputs import Input
from tests.hostile.place import Place

FOLDER = Path(__file__).parent / "corpus"

Names = dict[str, str]
"""Texts that the server gave out, and where: `own chk 0`, `secret PARTNER 0`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call as it was found, with the names of what stands in it, and why it is here."""

    why: str
    given: Input
    names: Names

    def at(self, place: Place) -> Input:
        """The same call in a place, in whose session its step is next."""
        return _renamed(self.given, {old: found for old, name in self.names.items() if (found := _found(place, name))})

    def write(self, name: str) -> Path:
        """Keeps it."""
        plain = {
            "why": self.why,
            "method": self.given.method,
            "requests": [base64.b64encode(raw).decode() for raw in self.given.requests],
            "metadata": [[key, _plain(value)] for key, value in self.given.metadata],
            "time_left": self.given.time_left,
            "names": self.names,
        }
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
        return path


def read(path: Path) -> Entry:
    """An entry that was kept."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    given = Input(
        method=plain["method"],
        metadata=[(key, _value(value)) for key, value in plain["metadata"]],
        requests=tuple(base64.b64decode(raw) for raw in plain["requests"]),
        time_left=plain["time_left"],
        layer="corpus",
    )
    return Entry(plain["why"], given, plain["names"])


def entries() -> list[Path]:
    """Every entry that is kept."""
    return sorted(FOLDER.glob("*.json"))


def named(given: Input, place: Place, why: str) -> Entry:
    """A call in which everything that the place gave out is named."""
    sent = b"\n".join([*given.requests, *(_bytes(value) for _, value in given.metadata)])
    return Entry(why, given, {text: name for text, name in _texts(place) if text.encode() in sent})


def _texts(place: Place) -> Iterator[tuple[str, str]]:
    for caller, credential in place.credentials.items():
        yield credential.secret, f"secret {caller} 0"
    for whose, pools in (("own", place.own), ("foreign", place.foreign)):
        for kind, values in pools.items():
            for number, text in enumerate(values):
                if len(text) >= 20:
                    yield text, f"{whose} {kind} {number}"


def _found(place: Place, name: str) -> str:
    """What has a name here; empty where nothing has."""
    whose, kind, number = name.split(" ")
    if whose == "secret":
        credential = place.credentials.get(Caller(kind))
        return credential.secret if credential is not None else ""
    values = (place.own if whose == "own" else place.foreign).get(kind, [])
    return values[int(number)] if int(number) < len(values) else ""


def _renamed(given: Input, texts: Names) -> Input:
    """The call with other texts in the place of some; in messages only where both are as long."""
    requests = []
    for raw in given.requests:
        for old, new in texts.items():
            raw = raw.replace(old.encode(), new.encode()) if len(old) == len(new) else raw
        requests.append(raw)
    metadata = []
    for key, value in given.metadata:
        for old, new in texts.items():
            value = value.replace(old, new) if isinstance(value, str) else value.replace(old.encode(), new.encode())
        metadata.append((key, value))
    return replace(given, requests=tuple(requests), metadata=metadata)


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _plain(value: str | bytes) -> Any:
    return value if isinstance(value, str) else {"bytes": base64.b64encode(value).decode()}


def _value(plain: Any) -> str | bytes:
    return plain if isinstance(plain, str) else base64.b64decode(plain["bytes"])
