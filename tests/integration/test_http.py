"""HTTP from the outside: what it refuses, what it stores, and what browsers are told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from comptoir_server.app.ports import Notice, NoticeKind, ProviderUnavailable
from comptoir_server.domain.inbox import DeliveryState
from comptoir_server.domain.wallets import LinkState, WalletState
from comptoir_server.store.tables import INBOX
from comptoir_server.transport.http import FORM_BYTES_MAX, WEBHOOK_BYTES_MAX, create_http
from comptoir_server.transport.pages import Html, fill
from tests.support.linking import PUBLIC_URL, World, approve, code_in, nonce_in, open_world, press_continue

NOTICE = Notice("WH-1", "SOMETHING.HAPPENED", NoticeKind.OTHER)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.browser() as browser:
        yield browser


# What providers tell us.


async def test_a_forged_delivery_is_refused_and_nothing_is_stored(world: World, client: httpx.AsyncClient) -> None:
    headers, body = world.provider.sign(NOTICE)

    for forged in (({}, body), (headers, body + b" "), (headers, b"")):
        answer = await client.post("/webhooks/paypal", headers=forged[0], content=forged[1])
        assert (answer.status_code, answer.text) == (400, "refused\n")

    assert await world.rows(INBOX) == []


async def test_a_genuine_delivery_is_stored_once_before_it_is_acknowledged(
    world: World, client: httpx.AsyncClient
) -> None:
    headers, body = world.provider.sign(NOTICE)

    answers = [await client.post("/webhooks/paypal", headers=headers, content=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [204, 204, 204]
    await world.runtime.drain(5.0)
    [delivery] = await world.rows(INBOX)
    assert (delivery.provider, delivery.event_id, delivery.state) == ("paypal", "WH-1", DeliveryState.PROCESSED)


async def test_a_delivery_that_cannot_be_verified_or_stored_now_comes_again(
    world: World, client: httpx.AsyncClient
) -> None:
    headers, body = world.provider.sign(NOTICE)
    world.provider.fail("read_webhook", error=ProviderUnavailable("no certificate"))
    assert (await client.post("/webhooks/paypal", headers=headers, content=body)).status_code == 503
    assert await world.rows(INBOX) == []
    await world.deps.store.close()

    assert (await client.post("/webhooks/paypal", headers=headers, content=body)).status_code == 503


async def test_a_delivery_for_nobody_or_beyond_the_limit_is_not_read(world: World, client: httpx.AsyncClient) -> None:
    assert (await client.post("/webhooks/nobody", content=b"x")).status_code == 404
    assert (await client.post("/webhooks/paypal", content=b"x" * (WEBHOOK_BYTES_MAX + 1))).status_code == 413
    assert (await client.get("/webhooks/paypal")).status_code == 405
    assert world.provider.calls == []

    await client.post("/webhooks/paypal", content=b"x" * WEBHOOK_BYTES_MAX)

    assert world.provider.calls == [("read_webhook", "")]


async def test_no_delivery_completes_a_link(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    world.provider.approve(await press_continue(client, link_url))
    for number, kind in enumerate((NoticeKind.OTHER, NoticeKind.WALLET_REVOKED, NoticeKind.OUTCOME)):
        headers, body = world.provider.sign(Notice(f"WH-{number}", "VAULT.PAYMENT-TOKEN.CREATED", kind))
        await client.post("/webhooks/paypal", headers=headers, content=body)
    await world.runtime.drain(5.0)

    assert (await world.link(link_id)).state == LinkState.PENDING_APPROVAL
    assert await ana.wallets() == []


async def test_a_permission_taken_back_reaches_the_wallet(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    await ana.link_wallet()
    [token] = world.provider.tokens
    world.provider.tokens.clear()
    headers, body = world.provider.sign(replace(NOTICE, kind=NoticeKind.WALLET_REVOKED, wallet_token=token))

    await client.post("/webhooks/paypal", headers=headers, content=body)
    await world.runtime.drain(5.0)

    assert [wallet.state for wallet in await ana.wallets()] == [WalletState.NEEDS_RELINK]


# What browsers are told.


async def test_every_answer_forbids_what_a_page_of_ours_never_needs(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    _, link_url = await ana.start()
    answers = [
        await client.get(link_url),
        await client.get("/link/unknown"),
        await client.get("/nothing"),
        await client.post("/healthz"),
        await client.get("/healthz"),
        await client.post("/webhooks/paypal"),
        await client.post(f"{link_url}/continue", content=b"x" * (FORM_BYTES_MAX + 1)),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 404, 405, 200, 400, 413]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' https:;" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_only_an_invitation_sets_a_cookie_and_only_a_guarded_one(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    _, link_url = await ana.start()

    cookie = (await client.get(link_url)).headers["set-cookie"]

    assert re.fullmatch(
        r"__Host-comptoir-link=[0-9A-Za-z_-]{43}; HttpOnly; Max-Age=3600; Path=/; SameSite=lax; Secure", cookie
    )
    for path in ("/healthz", "/link/unknown", f"{link_url}/return"):
        async with world.browser() as other:
            answer = await other.get(path)
        assert ("set-cookie" in answer.headers) == path.endswith("/return")


async def test_a_browser_keeps_its_cookie_over_two_links(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    (_, one), (_, two) = await ana.start(), await ana.start()
    first = (await client.get(one)).headers["set-cookie"]

    assert (await client.get(two)).headers["set-cookie"] == first
    client.cookies.clear()
    client.cookies.set("__Host-comptoir-link", "planted", domain="pay.example")
    assert (await client.get(two)).headers["set-cookie"] != first


async def test_looking_at_a_return_address_does_not_spend_the_approval(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    return_url = world.provider.approve(await press_continue(client, link_url))

    async with world.browser() as scanner:
        assert (await scanner.head(return_url)).status_code == 405
        assert (await scanner.head(f"{link_url}/cancel")).status_code == 405

    assert (await world.link(link_id)).state == LinkState.PENDING_APPROVAL


async def test_names_cannot_become_markup(world: World, client: httpx.AsyncClient) -> None:
    name = "<script>alert(1)</script> $code ${nonce} \"'&"
    ana = await world.person(name)
    _, link_url = await ana.start()

    invitation = await client.get(link_url)
    await approve(world, client, link_url)
    page = await client.get(link_url)

    escaped = "&lt;script&gt;alert(1)&lt;/script&gt; $code ${nonce} &quot;&#x27;&amp;"
    for text in (invitation.text, page.text):
        assert "<script" not in text
        assert escaped in text


def test_what_is_filled_into_a_page_is_escaped_unless_it_is_markup_of_ours() -> None:
    assert fill("<p>$a$b</p>", a="<i>", b=Html("<b>")) == "<p>&lt;i&gt;<b></p>"


async def test_pages_are_whole_and_say_their_language(world: World, client: httpx.AsyncClient) -> None:
    class Outline(HTMLParser):
        """Open elements, and those that were there."""

        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.seen: list[tuple[str, dict[str, str | None]]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append((tag, dict(attrs)))
            if tag not in ("meta", "input"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    ana = await world.person()
    _, link_url = await ana.start()
    pages = [await client.get(link_url), await client.get("/link/unknown")]
    await approve(world, client, link_url)
    async with world.browser() as other:
        pages += [await client.get(link_url), await other.get(link_url)]

    for page in pages:
        outline = Outline()
        outline.feed(page.text)
        assert outline.open == []
        assert ("html", {"lang": "en"}) in outline.seen
        assert [tag for tag, _ in outline.seen].count("h1") == 1
        assert not {tag for tag, _ in outline.seen} & {"script", "img", "iframe", "link"}
        assert page.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_form_goes_to_the_links_own_address(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    _, link_url = await ana.start()

    page = await client.get(link_url)

    assert f'<form method="post" action="{link_url}/continue">' in page.text
    assert nonce_in(page)
    assert link_url.startswith(f"{PUBLIC_URL}/link/")


async def test_a_body_that_is_no_form_is_a_missing_nonce(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    nonce = nonce_in(await client.get(link_url))

    for body in (b"", b"\xff", b"nonce", f"nonce={nonce}&nonce={nonce}".encode(), b"&".join([b"a=1"] * 100)):
        assert (await client.post(f"{link_url}/continue", content=body)).status_code == 403

    assert (await world.link(link_id)).browser_hash == ""


async def test_on_plain_http_the_cookie_is_plain_and_forms_may_go_to_plain_http(world: World) -> None:
    ana = await world.person()
    local = "http://127.0.0.1:8080"
    deps = replace(world.deps, settings=replace(world.deps.settings, public_url=local))
    _, link_url = await ana.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=create_http(deps)), base_url=local) as client:
        answer = await client.get(link_url.removeprefix(PUBLIC_URL))

    assert answer.headers["set-cookie"].startswith("comptoir-link=")
    assert "Secure" not in answer.headers["set-cookie"]
    assert "form-action 'self' https: http:;" in answer.headers["content-security-policy"]


async def test_without_a_database_a_page_says_to_come_back(world: World, client: httpx.AsyncClient) -> None:
    ana = await world.person()
    _, link_url = await ana.start()
    await approve(world, client, link_url)
    await world.deps.store.close()

    answer = await client.get(link_url)

    assert (answer.status_code, answer.headers["retry-after"], code_in(answer)) == (503, "5", "")
