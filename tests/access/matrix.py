"""Every method by every id field by everybody who may knock: what was answered, and whether anything moved.

For each cell the same request is sent twice: with the victim's id in the field, and with one that nothing has. The two
must not differ by a byte, nor by how often the database is asked. Nothing of the victim's may stand in an answer to
somebody else, and nothing may move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from comptoir_server.app.call import Caller
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.policy import Method
from tests.access.door import Reply, bearer, knock
from tests.access.estate import Estate, open_estate
from tests.access.fields import IdField, id_fields
from tests.access.identities import ABSENT, PARTNER_WIDE, SCOPE, Identity, knockers, makes
from tests.access.recipes import RECIPES, Recipe, UnknownToTheEstateError, request_of
from tests.access.sides import ID, Side
from tests.access.witness import Witness
from tests.support.door import absent_id

EVERY_ID = "every id"
"""The field of a cell in which all ids are the victim's."""

NO_ID = "no id"
"""The field of a cell whose request names nothing."""

REPLAY = "a replay"
"""The field of a cell in which what the owner sent is sent again with its request id."""

FOR_ONE_PERSON = "This is done for one person"
NOT_TO_SEND = "FIELD_INVALID"


@dataclass(frozen=True)
class Cell:
    """One knock and what it came to: the reason, or `own` where somebody was answered with what is theirs anyhow."""

    method: str
    field: str
    identity: str
    group: str
    outcome: str


@dataclass
class Findings:
    """All cells, and what must not have been: a sentence for each."""

    cells: list[Cell] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    largest_refusal: int = 0


@dataclass
class Matrix:
    """The product, walked method by method."""

    estate: Estate
    witness: Witness
    recipes: dict[str, Recipe] = field(default_factory=lambda: dict(RECIPES))
    findings: Findings = field(default_factory=Findings)

    async def walk(self, methods: Iterable[Method]) -> Findings:
        """All cells of these methods."""
        for method in methods:
            try:
                await self._walk(method)
            except UnknownToTheEstateError as error:
                self.findings.violations.append(str(error))
        return self.findings

    async def _walk(self, method: Method) -> None:
        victim, fields = self.estate.victim, id_fields(method.request_type)
        strangers, owners = await knockers(self.estate, method)
        asked = await request_of(method, victim, self.recipes, bearer(victim.bot_secret))
        bases: dict[str, Message] = {}
        for stranger in strangers:
            if stranger.side.name not in bases:
                side = stranger.side
                own = await request_of(method, side, self.recipes, bearer(side.bot_secret))
                bases[side.name] = asked if side is victim else own
        await self.estate.idle()
        before = await self.witness.digest()
        self.witness.look()
        for stranger in strangers:
            for one in _aims(victim, method, fields, asked, bases[stranger.side.name]):
                if await self._strike(method, stranger, one):
                    before = await self.witness.digest()
        await self.estate.idle()
        if await self.witness.digest() != before:
            self._blame(f"{method.name}: the tables are not as they were before the refused calls")
        for owner in owners:
            await self._control(method, owner, strangers, fields)
        await self.estate.idle()

    async def _strike(self, method: Method, stranger: Identity, aim: _Aim) -> bool:
        """One cell; answers whether it was somebody's own doing, by which the tables may have changed."""
        where = f"{method.name} with {aim.field} by {stranger.name}"
        began = self.witness.asked
        foreign = await self._send(method, stranger, aim.foreign)
        between = self.witness.asked
        absent = await self._send(method, stranger, aim.absent)
        asked = (between - began, self.witness.asked - between)
        own = not stranger.told and stranger.caller in method.callers and (not aim.ids or self._may_know(stranger, aim))
        self._require_told(where, stranger, method, foreign)
        if aim.ids and not own:
            self._require_same(where, foreign, absent)
            if asked[0] != asked[1] and aim.field != EVERY_ID:
                self._blame(f"{where}: {asked[0]} works for what is somebody else's, {asked[1]} for what is absent")
            if foreign.code == 0 and not method.reads:
                self._blame(f"{where} was answered, and it is somebody else's")
        self._require_nothing_of_the_victims(where, stranger, (foreign, absent))
        moved = self.witness.look()
        done = own and 0 in (foreign.code, absent.code)
        if moved and not done:
            self._blame(f"{where} was refused ({foreign.reason}), and something moved")
        outcome = "own" if own and foreign.code == 0 else foreign.reason if foreign.code else "nothing"
        self.findings.cells.append(Cell(method.name, aim.field, stranger.name, stranger.group, outcome))
        return done and not method.reads

    def _require_told(self, where: str, stranger: Identity, method: Method, reply: Reply) -> None:
        told = stranger.told
        if stranger.live and method.test_only:
            told = ""
        if told and reply.reason != told:
            self._blame(f"{where} was told {reply.reason}, not {told}")

    def _require_same(self, where: str, foreign: Reply, absent: Reply) -> None:
        size = len(foreign.status) + len(foreign.message)
        self.findings.largest_refusal = max(self.findings.largest_refusal, size)
        if foreign != absent:
            self._blame(
                f"{where}: what is somebody else's and what is absent differ: "
                f"{foreign.reason} {foreign.message!r} ({len(foreign.everything)} bytes), "
                f"{absent.reason} {absent.message!r} ({len(absent.everything)} bytes)"
            )

    def _require_nothing_of_the_victims(self, where: str, stranger: Identity, replies: Iterable[Reply]) -> None:
        """No id and no word of the victim's side stands in what somebody else is told."""
        if stranger.group == "owner":
            return
        victim = self.estate.victim
        known = set() if stranger.told else stranger.side.seen
        public = b"bot_" if stranger.caller in (Caller.USER, Caller.CHANNEL) else b"-"
        for reply in replies:
            told = reply.everything
            found = (each for each in ID.findall(told) if each in victim.seen and each not in known)
            leaked = [each for each in found if not each.startswith(public)]
            leaked += [word for word in victim.words if word in told]
            if leaked:
                self._blame(f"{where} was told {leaked[0].decode()}, which is somebody else's")

    def _may_know(self, stranger: Identity, aim: _Aim) -> bool:
        """Whether every id of the aim is one that the stranger's own side knows, or that anybody may name."""
        public = b"bot_" if stranger.caller in (Caller.USER, Caller.CHANNEL) else b"-"
        return all(each in stranger.side.seen or each.startswith(public) for each in aim.ids)

    async def _control(
        self, method: Method, owner: Identity, strangers: list[Identity], fields: tuple[IdField, ...]
    ) -> None:
        """The owner is answered, or no refusal before meant anything; then others send the very same again."""
        request = await request_of(method, self.estate.victim, self.recipes, owner.credential)
        reply = await self._send(method, owner, request)
        if makes(method, owner.caller):
            self.estate.victim.notice(reply)
        where = f"{method.name} by {owner.name}"
        bound_out = owner.bound and method.name in PARTNER_WIDE and reply.reason in (SCOPE, ABSENT)
        for_nobody = reply.message.startswith(FOR_ONE_PERSON) and owner.name == "the channel for nobody"
        if reply.code and not bound_out and not for_nobody:
            self._blame(
                f"{where} was refused: {reply.reason} {reply.message} So its refusals to others show nothing: add a "
                f"recipe for {method.name} to RECIPES in tests/access/recipes.py, or mend the one that is there."
            )
        outcome = "answered" if not reply.code else reply.reason
        self.findings.cells.append(Cell(method.name, "", owner.name, "owner", outcome))
        for each in (one for one in fields if one.drawn):
            drawn = _copy(request)
            each.put(drawn, self.estate.victim.ids[each.rule.prefixes[0]])
            refused = await self._send(method, owner, drawn)
            if refused.reason not in (NOT_TO_SEND, ABSENT):
                self._blame(f"{where} with {each.name} was answered {refused.reason}: that is the platform's to draw")
        if reply.code == 0 and method.takes_request_id:
            await self._replays(method, owner, strangers, request)

    async def _replays(self, method: Method, owner: Identity, strangers: list[Identity], request: Message) -> None:
        """What the owner was answered, asked for again with its request id by whoever overheard it."""
        await self.estate.idle()
        fields = [each for each in id_fields(method.request_type) if not each.drawn and each.get(request)]
        self.witness.look()
        for stranger in strangers:
            where = f"{method.name} as {owner.name} sent it, again by {stranger.name}"
            reply = await self._send(method, stranger, request, again=True)
            self._require_told(where, stranger, method, reply)
            self._require_nothing_of_the_victims(where, stranger, (reply,))
            ids = tuple(each.get(request).encode() for each in fields)
            own = not ids or self._may_know(stranger, _Aim(REPLAY, request, request, ids))
            if not stranger.told and stranger.caller in method.callers and not own:
                absent = await self._send(method, stranger, _with_absent(fields, request))
                self._require_same(where, reply, absent)
            if self.witness.look() and not (own and not stranger.told):
                self._blame(f"{where} was {reply.reason}, and something moved")
            outcome = reply.reason if reply.code else "own" if own else "nothing"
            self.findings.cells.append(Cell(method.name, REPLAY, stranger.name, stranger.group, outcome))

    async def _send(self, method: Method, who: Identity, request: Message, *, again: bool = False) -> Reply:
        if method.takes_request_id and not (again and request.request_id):  # type: ignore[attr-defined]
            request.request_id = self.estate.request_id()  # type: ignore[attr-defined]
        boundary: Boundary = self.estate.live if who.live else self.estate.boundary
        return await knock(boundary, method, who.credential, request.SerializeToString())

    def _blame(self, sentence: str) -> None:
        self.findings.violations.append(sentence)


async def walked(database_url: str, methods: Iterable[Method]) -> Findings:
    """The cells of these methods on a new database."""
    async with open_estate(database_url) as estate:
        witness = Witness(estate.deps, database_url)
        try:
            return await Matrix(estate, witness).walk(methods)
        finally:
            witness.close()


@dataclass(frozen=True)
class _Aim:
    """One field of a method, and the two requests that differ in it alone; `ids` are the victim's that are named."""

    field: str
    foreign: Message
    absent: Message
    ids: tuple[bytes, ...]


def _aims(side: Side, method: Method, fields: tuple[IdField, ...], asked: Message, base: Message) -> list[_Aim]:
    """The cells of a method for somebody whose own request is `base`; `asked` is the same of `side`, the victim."""
    if not fields:
        return [_Aim(NO_ID, base, base, ())]
    aims = []
    for one in fields:
        for prefix in one.rule.prefixes:
            given = one.get(asked)
            wanted = given if given.startswith(f"{prefix}_") else side.ids[prefix]
            foreign, absent = _copy(base), _copy(base)
            one.put(foreign, wanted)
            one.put(absent, absent_id(prefix))
            aims.append(_Aim(one.name, foreign, absent, (wanted.encode(),)))
    named = [each for each in fields if not each.drawn]
    if len(named) > 1:
        ids = tuple(each.get(asked).encode() for each in named)
        aims.append(_Aim(EVERY_ID, _copy(asked), _with_absent(named, asked), ids))
    return aims


def _with_absent(fields: list[IdField], request: Message) -> Message:
    """The request with ids that nothing has in place of its own."""
    absent = _copy(request)
    for one in fields:
        one.put(absent, absent_id(one.get(request).partition("_")[0]))
    return absent


def _copy(request: Message) -> Message:
    made = type(request)()
    made.CopyFrom(request)
    return made
