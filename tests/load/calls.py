"""Part: the unary calls, each against an empty one on the same stack."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from tests.load.report import Section
from tests.load.stand import CAPTURE, CONFIRM, Setting, Slice, alternating, median_ratio

EMPTY = "empty"
METHODS = (EMPTY, "read", "events", CONFIRM, CAPTURE)
WORDS = {
    EMPTY: "empty RPC",
    "read": "read by id (GetCheckout)",
    "events": "a page of 50 (ListEvents)",
    CONFIRM: "confirm to captured",
    CAPTURE: "capture of a hold",
}


def measure(setting: Setting, methods: Sequence[str]) -> Section:
    """Alternating slices of the methods, and of the empty one, on one server."""
    scale = setting.scale
    wanted = [method for method in METHODS if method == EMPTY or method in methods]
    slices: dict[str, list[Slice]] = defaultdict(list)
    with setting.stands(()) as (stand,):
        stand.warm_up(wanted, scale.warm_up)
        for method in alternating(scale.rounds, wanted):
            slices[method].append(stand.slice(method, scale.calls[method]))
    figures: dict[str, float] = {}
    for method in wanted:
        figures |= {f"{method}.{name}": value for name, value in _figures(slices[method], slices[EMPTY]).items()}
    return Section(
        part="calls",
        title=f"calls by 64 callers, {scale.rounds} alternating rounds, medians",
        headings=("call", "a second", "/ empty", "server CPU µs", "/ empty", "p50 ms", "p99 ms"),
        rows=[_row(method, figures) for method in wanted],
        figures=figures,
        bars={WORDS[method]: figures[f"{method}.rate_to_empty"] for method in wanted},
        bars_of="rate against the empty RPC's",
    )


def _figures(slices: Sequence[Slice], empty: Sequence[Slice]) -> dict[str, float]:
    return {
        "rate": statistics.median(each.rate for each in slices),
        "rate_to_empty": median_ratio([each.rate for each in slices], [each.rate for each in empty]),
        "cpu_us": statistics.median(each.cpu_us for each in slices),
        "cpu_to_empty": median_ratio([each.cpu_us for each in slices], [each.cpu_us for each in empty]),
        "p50_ms": statistics.median(each.p50_ms for each in slices),
        "p99_ms": statistics.median(each.p99_ms for each in slices),
    }


def _row(method: str, figures: dict[str, float]) -> list[str]:
    def of(name: str) -> float:
        return figures[f"{method}.{name}"]

    return [
        WORDS[method],
        f"{of('rate'):,.0f}",
        f"{of('rate_to_empty'):.2f}",
        f"{of('cpu_us'):.0f}",
        f"{of('cpu_to_empty'):.2f}",
        f"{of('p50_ms'):.1f}",
        f"{of('p99_ms'):.1f}",
    ]
