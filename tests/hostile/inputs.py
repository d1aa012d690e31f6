"""One hostile call, drawn from a seed: made from a valid step of a session by one of six layers."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from comptoir_server.app.call import Caller
from tests.hostile import wire
from tests.hostile.place import Credential, Place
from tests.hostile.values import Spoiler
from tests.hostile.visit import Step
from tests.support.door import METHODS, absent_id

Rng = random.Random
Metadata = list[tuple[str, str | bytes]]

TIMES_LEFT = (0.0, -1.0, -1e9, 1e-9, 0.2, 0.6, 0.99, 1.0, 5.0, 1e9, 1e300, float("inf"))
"""How long callers say that they wait, in seconds: not at all, and longer than anything lasts."""


@dataclass(frozen=True, slots=True)
class Input:
    """One call as it arrives at the door; `layer` says how it was made."""

    method: str
    metadata: Metadata
    requests: tuple[bytes, ...]
    time_left: float | None = None
    layer: str = "valid"


def valid(step: Step, place: Place) -> Input:
    """The step itself."""
    requests = tuple(request.SerializeToString() for request in step.requests)
    return Input(step.method, place.credentials[step.caller].metadata, requests)


def hostile(rng: Rng, step: Step, place: Place) -> Input:
    """A call that resembles the step."""
    layer = rng.choices(tuple(LAYERS), tuple(LAYERS.values()))[0]
    messages = [_fresh(rng, request) for request in step.requests]
    credential = _credential(rng, step, place)
    metadata, time_left = credential.metadata, None
    if layer in ("values", "plausible"):
        Spoiler(rng, place.own, place.foreign, layer == "values").spoil(rng.choice(messages))
    elif layer == "filled":
        Spoiler(rng, place.own, place.foreign, rng.random() < 0.5).fill(rng.choice(messages))
    elif layer == "envelope":
        metadata = rng.choice(_METADATA)(rng, credential, place) if rng.random() < 0.7 else metadata
        time_left = rng.choice(TIMES_LEFT) if rng.random() < 0.5 else None
    requests = [message.SerializeToString() for message in messages]
    if layer in ("noise", "wire"):
        place_ = rng.randrange(len(requests))
        requests[place_] = wire.noise(rng) if layer == "noise" else wire.mutant(rng, requests[place_])
    if METHODS[step.method].takes_stream:
        requests = _shuffled(rng, requests)
    return Input(step.method, metadata, tuple(requests), time_left, layer)


LAYERS = {"noise": 6, "wire": 28, "values": 26, "plausible": 20, "filled": 8, "envelope": 12}
"""The layers, and how many in a hundred inputs each makes."""


def _fresh(rng: Rng, request: Message) -> Message:
    """A copy, mostly under a request id of its own."""
    copy: Message = type(request)()
    copy.CopyFrom(request)
    if "request_id" in copy.DESCRIPTOR.fields_by_name and rng.random() < 0.9:
        copy.request_id = f"hostile-{rng.getrandbits(60):x}"  # type: ignore[attr-defined]  # asked for one line above
    return copy


def _credential(rng: Rng, step: Step, place: Place) -> Credential:
    """Mostly that of whoever takes the step, else of somebody who may take it too."""
    if rng.random() < 0.85:
        return place.credentials[step.caller]
    others = [place.credentials[each] for each in sorted(METHODS[step.method].callers) if each in place.credentials]
    return rng.choice(others)


def _shuffled(rng: Rng, requests: list[bytes]) -> list[bytes]:
    """The messages of a stream: as they were, out of order, fewer, or many times over."""
    dice = rng.random()
    if dice < 0.6:
        return requests
    if dice < 0.7:
        return rng.sample(requests, len(requests))
    if dice < 0.8:
        return requests[: rng.randint(0, len(requests) - 1)]
    return requests + [rng.choice(requests)] * rng.choice((1, 2, 100))


# What may stand in the metadata instead of a credential.


def _bearer(text: str) -> Metadata:
    return [("authorization", text)]


def _no_credential(rng: Rng, credential: Credential, _place: Place) -> Metadata:
    secret = credential.secret
    bearer = f"Bearer {secret}"
    choices: tuple[Metadata, ...] = (
        [],
        _bearer(""),
        _bearer("Bearer"),
        _bearer("Bearer "),
        _bearer(secret),
        _bearer(f"Basic {secret}"),
        _bearer(bearer) * 2,
        [("authorization", bearer.encode())],
        [("authorization-bin", secret.encode())],
        [("Authorization", bearer)],
    )
    return rng.choice(choices)


def _spoiled_secret(rng: Rng, credential: Credential, _place: Place) -> Metadata:
    secret = credential.secret
    at = rng.randrange(len(secret))
    bent = rng.choice(
        (
            secret[:at],
            secret[:at] + rng.choice("0aZ.-_~\u00e9\x00 \n\ud800") + secret[at + 1 :],
            secret.swapcase(),
            secret.replace("test", "live"),
            secret * 50,
            secret + "\x00",
            "cmp_test_" + "0" * 36,
            "x" * 8_000,
        )
    )
    return _bearer(rng.choice(("Bearer ", "bearer ", "BEARER  ", "Bearer\t")) + bent)


def _forged_token(rng: Rng, credential: Credential, place: Place) -> Metadata:
    """A user token that nobody issued: other algorithms, headers that name keys, parts that are no JSON."""
    parts = place.credentials.get(Caller.USER, credential).secret.split(".")
    header = rng.choice(
        (
            b'{"alg":"none"}',
            b'{"alg":"HS256","crit":["b64"],"b64":false}',
            b'{"alg":"HS256","crit":1}',
            b'{"alg":"HS256","crit":[[]]}',
            b'{"alg":"HS256","typ":"JWT","crit":[1]}',
            b'{"alg":"HS256","jku":"http://127.0.0.1/","kid":"../../dev/null"}',
            b'{"alg":["HS256"]}',
            b'{"alg":null}',
            b'{"alg":{}}',
            b"[]",
            b"null",
            b"1",
            b'"HS256"',
            b"{",
            b"\xff\xfe",
            b"[" * 900,
            b'{"alg":"HS256","alg":"none"}',
            b'{"alg":"A256GCMKW","enc":"A256GCM"}',
        )
    )
    made = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    claims = json.dumps({"sub": rng.choice(("", absent_id("usr"), 1, None)), "exp": rng.choice((0, 1e400, "x", None))})
    body = rng.choice((base64.urlsafe_b64encode(claims.encode()).decode(), parts[1] if len(parts) > 1 else "", "!"))
    mark = rng.choice(("", "AA", "*", parts[-1][:40]))
    return _bearer(f"Bearer {made}.{body}.{mark}")


def _other_person(rng: Rng, credential: Credential, place: Place) -> Metadata:
    """The credential of a stranger, of another kind of caller, or of ours with a user that is not meant."""
    users = (*place.own.get("usr", ()), *place.foreign.get("usr", ()), *place.own.get("ses", ()), absent_id("usr"))
    named = rng.choice((*users, "", "usr_", "\x00", "\u00e9", "usr_" + "z" * 26, "x" * 4_000))
    base = rng.choice((credential, *place.strangers, *place.credentials.values()))
    metadata = _bearer(f"Bearer {base.secret}")
    return metadata + [("comptoir-user", named)] * rng.choice((0, 1, 1, 1, 2))


def _much(rng: Rng, credential: Credential, _place: Place) -> Metadata:
    more: tuple[str | bytes, ...] = (b"\x00\xff" * 500, "x" * 7_000, "", "\u2713")
    extra: Metadata = [(f"x-{number}-bin", rng.choice(more)) for number in range(rng.choice((1, 50, 1_000)))]
    return [*extra, *credential.metadata, ("grpc-timeout", "99999999H"), ("content-type", "text/html")]


_METADATA: tuple[Callable[[Rng, Credential, Place], Metadata], ...] = (
    _no_credential,
    _spoiled_secret,
    _forged_token,
    _other_person,
    _other_person,
    _much,
)
