"""Parts that measure confirms on two servers by turns: one transaction a request, and a large past."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.load.report import Section
from tests.load.stand import CONFIRM, Setting, Slice, Stand, alternating, median_ratio


def one_by_one(setting: Setting) -> Section:
    """The same server with shared transactions and with one transaction for each work."""
    alone, shared = "one work a transaction", "shared transactions"
    with setting.stands(("--batch-max", "1"), ()) as (first, second):
        slices = _slices(setting, {alone: first, shared: second})
    return _section("one-by-one", "what it brings that requests share transactions", slices)


def data_size(setting: Setting) -> Section:
    """The same server on a small past and on a large one."""
    small, large = setting.scale.past_payments
    setting.say(f"storing {small:,} and {large:,} past payments")
    with setting.stands(("--past", str(small)), ("--past", str(large))) as (first, second):
        slices = _slices(setting, {f"{small:,} past payments": first, f"{large:,} past payments": second})
    return _section("data-size", "what a payment costs against the size of the data", slices)


def _slices(setting: Setting, stands: dict[str, Stand]) -> dict[str, list[Slice]]:
    for stand in stands.values():
        stand.warm_up([CONFIRM], setting.scale.warm_up)
    slices: dict[str, list[Slice]] = {name: [] for name in stands}
    for name in alternating(setting.scale.rounds, list(stands)):
        slices[name].append(stands[name].slice(CONFIRM, setting.scale.calls[CONFIRM]))
    return slices


def _section(part: str, title: str, slices: dict[str, list[Slice]]) -> Section:
    """Both servers; the ratios are the second's to the first's."""
    base, compared = list(slices)
    figures = {
        "base.rate": _median_rate(slices[base]),
        "base.cpu_us": _median_cpu(slices[base]),
        "compared.rate": _median_rate(slices[compared]),
        "compared.cpu_us": _median_cpu(slices[compared]),
        "rate_ratio": median_ratio([s.rate for s in slices[compared]], [s.rate for s in slices[base]]),
        "cpu_ratio": median_ratio([s.cpu_us for s in slices[compared]], [s.cpu_us for s in slices[base]]),
    }
    ratios = [f"{figures['rate_ratio']:.2f}", f"{figures['cpu_ratio']:.2f}"]
    rows = [
        [base, f"{figures['base.rate']:,.0f}", "1.00", f"{figures['base.cpu_us']:.0f}", "1.00"],
        [compared, f"{figures['compared.rate']:,.0f}", ratios[0], f"{figures['compared.cpu_us']:.0f}", ratios[1]],
    ]
    return Section(
        part=part,
        title=f"{title}, medians of {len(slices[base])} alternating slices each",
        headings=("confirms with", "a second", "/ first", "server CPU µs", "/ first"),
        rows=rows,
        figures={f"{part}.{name}": value for name, value in figures.items()},
        bars={base: figures["base.rate"], compared: figures["compared.rate"]},
        bars_of="confirms a second",
    )


def _median_rate(slices: Sequence[Slice]) -> float:
    return statistics.median(each.rate for each in slices)


def _median_cpu(slices: Sequence[Slice]) -> float:
    return statistics.median(each.cpu_us for each in slices)
