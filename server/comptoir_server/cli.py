"""`comptoir-server`: serve, standin, demo, migrate, keys, check. Every flag is also `COMPTOIR_…` in the environment."""

from __future__ import annotations

import asyncio
import json
import sys
import typing
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from comptoir_server import log
from comptoir_server.config import Config, ConfigurationError, split_address

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Payments inside a conversation.")
keys = typer.Typer(no_args_is_help=True, help="Credentials.")
standin = typer.Typer(no_args_is_help=True, help="Local servers that speak a provider's real protocol.")
app.add_typer(keys, name="keys")
app.add_typer(standin, name="standin")

DEFAULTS = Config()

REFUSED = 2
"""Exit code: the configuration or the arguments cannot work; the message says what would."""
UNAVAILABLE = 3
"""Exit code: the database or a server cannot be reached."""


def _option(name: str, words: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{name}", envvar=f"COMPTOIR_{name.replace('-', '_').upper()}", help=words, show_default=True)  # type: ignore[no-any-return]


Database = Annotated[str, _option("database", "sqlite:///PATH or postgresql://USER@HOST/NAME")]
Mode = Annotated[str, _option("mode", "test or live; a database belongs to one of them")]
MasterKey = Annotated[
    str,
    typer.Option("--master-key", envvar="COMPTOIR_MASTER_KEY", help="32 bytes in base64", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")]


@app.command()
def serve(
    listen: Annotated[str, _option("listen", "where gRPC is served")] = DEFAULTS.listen,
    http: Annotated[str, _option("http", "where link pages and webhooks are served")] = DEFAULTS.http,
    database: Database = DEFAULTS.database,
    mode: Mode = DEFAULTS.mode,
    public_url: Annotated[str, _option("public-url", "where browsers find the link pages")] = "",
    master_key: MasterKey = "",
    tls_certificate: Annotated[str, _option("tls-certificate", "PEM file")] = "",
    tls_key: Annotated[str, _option("tls-key", "PEM file")] = "",
    plaintext: Annotated[bool, _option("plaintext", "serve without TLS off this machine")] = False,
    paypal_url: Annotated[str, _option("paypal-url", "PayPal, its sandbox, or a stand-in")] = DEFAULTS.paypal_url,
    paypal_client_id: Annotated[
        str, _option("paypal-client-id", "of the REST application")
    ] = DEFAULTS.paypal_client_id,
    paypal_client_secret: Annotated[
        str, _option("paypal-client-secret", "of the REST application")
    ] = DEFAULTS.paypal_client_secret,
    paypal_webhook_id: Annotated[str, _option("paypal-webhook-id", "of the subscription")] = DEFAULTS.paypal_webhook_id,
    paypal_trust_roots: Annotated[str, _option("paypal-trust-roots", "PEM file of a stand-in's authority")] = "",
    provider_limit_seconds: Annotated[float, _option("provider-limit-seconds", "for one call")] = 20.0,
    provider_settle_seconds: Annotated[
        int, _option("provider-settle-seconds", "after which absence is proof")
    ] = DEFAULTS.provider_settle_seconds,
    drain_seconds: Annotated[float, _option("drain-seconds", "for running calls, at the end")] = DEFAULTS.drain_seconds,
    fault_file: Annotated[str, _option("fault-file", "names a point at which to be killed; for tests")] = "",
) -> None:
    """Runs the server until it is asked to end; a call that moves money is never cut off."""
    from comptoir_server import main as wiring

    choices = dict(locals())
    choices.pop("wiring")
    config = _checked(Config(**choices))
    log.set_up()
    words = f"Serving gRPC on {config.listen} and pages on {config.page_url} ({config.mode} mode). Ctrl-C ends it.\n"
    _run(lambda: wiring.serve(config, lambda: _say(words)))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the servers running, and say how to use them.")] = False,
    database: Annotated[str, typer.Option("--database", help="instead of an embedded file")] = "",
    locale: Annotated[str, typer.Option("--locale", help="BCP 47 tag by which the person reads money")] = "en-US",
) -> None:
    """Plays purchases in a chat, from the advertisement to the boarding pass, against local stand-ins."""
    from comptoir_server.demo.command import run

    try:
        code = run(keep=keep, database=database, locale=locale)
    except ConfigurationError as error:
        _refuse(str(error))
    raise typer.Exit(code)


@app.command()
def migrate(database: Database = DEFAULTS.database, mode: Mode = DEFAULTS.mode) -> None:
    """Brings the database to this version, and writes down its mode."""
    from comptoir_server.store.migrate import migrate as upgrade

    _checked(Config(database=database))

    async def work() -> None:
        upgrade(database, mode)
        _say(f"The database is up to date ({mode} mode).\n")

    _run(work)


@app.command()
def check(
    database: Database = DEFAULTS.database,
    as_json: AsJson = False,
) -> None:
    """Checks every invariant and prints the rows it examined. Exit code 1 where one is violated."""
    from comptoir_server.store.checks import check_database
    from comptoir_server.store.checks.report import print_report

    _checked(Config(database=database))
    report = check_database(database)
    print_report(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


@keys.command("create")
def create_key(
    operator: Annotated[bool, typer.Option("--operator", help="A key of an operator.")] = False,
    channel: Annotated[str, typer.Option("--channel", help="A key of the channel of this name.")] = "",
    partner: Annotated[str, typer.Option("--partner", help="A key of the partner of this name.")] = "",
    bot: Annotated[str, typer.Option("--bot", help="Bound to the partner's bot of this name.")] = "",
    database: Database = DEFAULTS.database,
    mode: Mode = DEFAULTS.mode,
    master_key: MasterKey = "",
    as_json: AsJson = False,
) -> None:
    """Makes a key, and whom it speaks for where that is new. The secret is shown once."""
    from comptoir_server import main as wiring
    from comptoir_server.app import provisioning
    from comptoir_server.runtime import Runtime

    if sum((operator, bool(channel), bool(partner))) != 1 or (bot and not partner):
        _refuse("Choose one of --operator, --channel NAME, --partner NAME [--bot NAME].")
    config = _checked(Config(database=database, mode=mode, master_key=master_key))

    async def work() -> None:
        async with wiring.open_deps(config, Runtime(), {}) as deps:
            if operator:
                made = await provisioning.provision_operator(deps)
            elif channel:
                made = await provisioning.provision_channel(deps, channel)
            else:
                made = await provisioning.provision_partner(deps, partner, bot)
        ids = {"partner_id": made.partner_id, "bot_id": made.bot_id, "channel_id": made.channel_id}
        known = {
            "key": made.secret,
            "api_key_id": made.api_key_id,
            **{name: value for name, value in ids.items() if value},
        }
        lines = [f"{name:<11} {value}" for name, value in known.items()]
        _say(json.dumps(known) + "\n" if as_json else "\n".join(lines) + "\n")

    _run(work)


@standin.command("paypal")
def standin_paypal(
    listen: Annotated[str, typer.Option("--listen", help="where it is served")] = "127.0.0.1:7610",
    webhook_url: Annotated[str, typer.Option("--webhook-url", help="where it delivers")] = (
        "http://127.0.0.1:7680/webhooks/paypal"
    ),
    state_dir: Annotated[str, typer.Option("--state-dir", help="where it writes ca.pem")] = "",
    latency_seconds: Annotated[float, typer.Option("--latency-seconds", help="before every answer")] = 0.0,
) -> None:
    """Runs a server that speaks PayPal's wire protocol, with test accounts and controls for everything that fails."""
    from comptoir_server.runtime import Runtime
    from comptoir_server.standins.paypal import PaypalStandinConfig
    from comptoir_server.standins.paypal import serve as serve_standin

    try:
        host, port = split_address("--listen", listen)
    except ConfigurationError as error:
        _refuse(str(error))
    config = PaypalStandinConfig(
        host=host,
        port=port,
        webhook_url=webhook_url,
        state_dir=Path(state_dir) if state_dir else None,
        latency_seconds=latency_seconds,
    )
    _say(f"PayPal stand-in on {config.base_url}; controls under {config.base_url}/_standin/. Ctrl-C ends it.\n")
    _run(lambda: serve_standin(config, Runtime()))


def _checked(config: Config) -> Config:
    try:
        return config.check()
    except ConfigurationError as error:
        _refuse(str(error))


def _refuse(words: str) -> typing.NoReturn:
    typer.secho(words, fg="red", err=True)
    raise typer.Exit(REFUSED)


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs `work` on the fastest loop there is; what the operator can mend is said in one sentence."""
    from comptoir_server.domain.errors import Refused
    from comptoir_server.store.errors import StorageUnavailable
    from comptoir_server.store.migrate import WrongDatabase

    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(work())
    except (ConfigurationError, Refused, WrongDatabase) as error:
        _refuse(str(error))
    except StorageUnavailable as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(UNAVAILABLE) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it can be had, else the standard loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> None:
    """The entry point of `comptoir-server`."""
    app()


if __name__ == "__main__":
    main()
