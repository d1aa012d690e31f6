"""Parts: what it costs to deliver events to many who follow one log, and what an idle stream holds in memory."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from tests.load.programs import Program, started
from tests.load.report import Section
from tests.load.stand import CONFIRM, Setting, Stand

SETTLE_SECONDS = 1.0
"""How long a server is left alone before its memory is looked at."""

FAN_OUT_NOTE = (
    "The CPU of a delivery is the difference to the same slice without followers; one event in a hundred is "
    "acknowledged. Delays are from the time that an event bears, before its commit, under this load."
)

FEW = 4
"""So many streams are opened and closed before, so that what the first one loads is not counted."""


def fan_out(setting: Setting) -> Section:
    """Confirms with and without followers of the partner's log, by turns; an empty slice gives the measure."""
    scale = setting.scale
    found: dict[str, list[float]] = defaultdict(list)
    with setting.stands(()) as (stand,), started("tests.load.load_generator") as followers:
        followers.tell(stand.about)
        stand.warm_up(["empty"], scale.warm_up)
        for _ in range(scale.rounds):
            empty = stand.slice("empty", scale.calls["empty"])
            alone = stand.slice(CONFIRM, scale.fan_out_confirms)
            for name, value in _followed(stand, followers, scale.subscribers, scale.fan_out_confirms).items():
                found[name].append(value)
            cost = (found["cpu_seconds"][-1] - alone.cpu_seconds) / found["deliveries"][-1] * 1e6
            found["cpu_us"].append(cost)
            found["cpu_to_empty"].append(cost / empty.cpu_us)
            found["confirm_ratio"].append(found["confirms_a_second"][-1] / alone.rate)
    figures = {name: statistics.median(values) for name, values in found.items()}
    rows = [
        ["deliveries in a slice", f"{figures['deliveries']:,.0f}"],
        ["deliveries a second", f"{figures['rate']:,.0f}"],
        ["server CPU µs a delivery", f"{figures['cpu_us']:.1f}"],
        ["... / server CPU of an empty RPC", f"{figures['cpu_to_empty']:.2f}"],
        ["delay p50 ms", f"{figures['p50_ms']:.1f}"],
        ["delay p99 ms", f"{figures['p99_ms']:.1f}"],
        ["confirms a second / without followers", f"{figures['confirm_ratio']:.2f}"],
    ]
    return Section(
        part="fan-out",
        title=f"{scale.subscribers} streams of one log, {scale.fan_out_confirms} confirms, medians of {scale.rounds}",
        headings=("", "median"),
        rows=rows,
        figures={f"fan-out.{name}": value for name, value in figures.items()},
        notes=(FAN_OUT_NOTE,),
    )


def _followed(stand: Stand, followers: Program, streams: int, confirms: int) -> dict[str, float]:
    """One slice of confirms with followers, until all of them have every event."""
    cursor = stand.load.ask({"order": "log_end", "key": "partner", "cursor": ""})["cursor"]
    followers.ask({"order": "follow", "streams": streams, "keys": ["partner"], "cursors": [cursor]})
    before = stand.server.cpu_seconds()
    slice_ = stand.slice(CONFIRM, confirms)
    events = stand.load.ask({"order": "log_end", "key": "partner", "cursor": cursor})["events"]
    shown = followers.ask({"order": "delivered", "events": events})
    used = stand.server.cpu_seconds() - before
    followers.ask({"order": "leave"})
    return {
        "deliveries": shown["deliveries"],
        "rate": shown["deliveries"] / (shown["last"] - slice_.started),
        "cpu_seconds": used,
        "p50_ms": shown["p50_ms"],
        "p99_ms": shown["p99_ms"],
        "confirms_a_second": slice_.rate,
    }


def memory(setting: Setting) -> Section:
    """The server's memory before and after many streams are open that have nothing to say."""
    streams = setting.scale.idle_streams
    with setting.stands(()) as (stand,), started("tests.load.load_generator") as followers:
        followers.tell(stand.about)
        stand.warm_up([], setting.scale.warm_up)
        keys = ["partner", "channel"]
        cursors = [stand.load.ask({"order": "log_end", "key": key, "cursor": ""})["cursor"] for key in keys]
        order = {"order": "follow", "keys": keys, "cursors": cursors}
        followers.ask({**order, "streams": FEW})
        followers.ask({"order": "leave"})
        time.sleep(SETTLE_SECONDS)
        before = stand.server.memory_bytes()
        followers.ask({**order, "streams": streams})
        time.sleep(SETTLE_SECONDS)
        after = stand.server.memory_bytes()
        followers.ask({"order": "leave"})
    each = (after - before) / streams
    return Section(
        part="streams",
        title=f"memory of {streams} idle streams",
        headings=("", "KiB"),
        rows=[
            ["resident before", f"{before / 1024:,.0f}"],
            ["resident with all open", f"{after / 1024:,.0f}"],
            ["each stream", f"{each / 1024:.1f}"],
        ],
        figures={"streams.before_bytes": before, "streams.after_bytes": after, "streams.each_bytes": each},
    )
