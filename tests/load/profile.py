"""Part: where the time of a payment goes, by thread as the kernel counts it and by stage as the profiler sees it."""

from __future__ import annotations

import sys
from collections import defaultdict

from tests.load.report import Section
from tests.load.stages import LOOP, WAIT, Seconds
from tests.load.stand import CONFIRM, Setting, Stand

OTHERS = "gRPC's own threads, and all others"
BLIND = (
    "The profiler does not see gRPC's own threads, the database's processes, an idle loop, or who holds the "
    "interpreter: a thread that waits for it seems busy where it waits. Small functions look dearer than they are; "
    "time inside of compiled code counts for its caller; waits for PostgreSQL outside of a commit are in the SQL "
    "driver's share."
)
MIXED = "From Python 3.12 on the profiler counts all threads as one: read the first column alone."


def measure(setting: Setting) -> list[Section]:
    """A slice of confirms on a server without a profiler, and one on a server with it."""
    with setting.stands((), ("--profile",)) as (plain, profiled):
        for stand in (plain, profiled):
            stand.warm_up([CONFIRM], setting.scale.warm_up)
        calls = setting.scale.calls[CONFIRM]
        return [threads(plain, calls), stages(profiled, calls)]


def threads(stand: Stand, calls: int) -> Section:
    """Of each thread: it ran, it waited for a core, or it waited for something else."""
    names = {number: name for name, number in stand.server.ask({"order": "threads"}).items()}
    before = stand.server.threads()
    slice_ = stand.slice(CONFIRM, calls)
    after = stand.server.threads()
    ran: dict[str, float] = defaultdict(float)
    queued: dict[str, float] = defaultdict(float)
    for number, times in after.items():
        earlier = before.get(number)
        name = names.get(number, OTHERS)
        ran[name] += times.ran - (earlier.ran if earlier else 0.0)
        queued[name] += times.queued - (earlier.queued if earlier else 0.0)
    figures: dict[str, float] = {"threads.confirm_rate": slice_.rate}
    rows: list[list[str]] = []
    for name in (*names.values(), OTHERS):
        shares = {"ran": ran[name] / slice_.seconds, "queued": queued[name] / slice_.seconds}
        figures |= {f"threads.{name}.{what}": share for what, share in shares.items()}
        waited = "" if name == OTHERS else f"{max(1 - shares['ran'] - shares['queued'], 0.0):.0%}"
        rows.append([name, f"{shares['ran']:.0%}", f"{shares['queued']:.0%}", waited])
    return Section(
        part="profile",
        title="threads during confirms, shares of the time that passed",
        headings=("thread", "ran", "waited for a core", "waited for work, commit, interpreter"),
        rows=rows,
        figures=figures,
    )


def stages(stand: Stand, calls: int) -> Section:
    """Under the profiler: the loop's thread and those of the database."""
    before: dict[str, Seconds] = stand.server.ask({"order": "stages"})
    stand.slice(CONFIRM, calls)
    after: dict[str, Seconds] = stand.server.ask({"order": "stages"})
    shares = {thread: _shares(before.get(thread, {}), seconds) for thread, seconds in after.items()}
    columns = [LOOP, *sorted(name for name in shares if name != LOOP and shares[name])]
    every = {stage for thread in columns for stage in shares[thread]}
    busiest = sorted(every, key=lambda stage: (stage == WAIT, -shares[LOOP].get(stage, 0.0), stage))
    rows = [[stage, *(_percent(shares[thread].get(stage)) for thread in columns)] for stage in busiest]
    return Section(
        part="profile",
        title="confirms by stage, shares of each thread's time under cProfile",
        headings=("stage", *columns),
        rows=rows,
        figures={f"stages.{thread}.{stage}": share for thread in columns for stage, share in shares[thread].items()},
        bars={stage: shares[LOOP].get(stage, 0.0) * 100 for stage in busiest if stage in shares[LOOP]},
        bars_of=f"percent of the {LOOP}'s own time",
        notes=(BLIND, MIXED) if sys.version_info >= (3, 12) else (BLIND,),
    )


def _shares(before: Seconds, after: Seconds) -> Seconds:
    """What each stage took of the time between two looks."""
    spent = {stage: max(seconds - before.get(stage, 0.0), 0.0) for stage, seconds in after.items()}
    total = sum(spent.values())
    return {stage: seconds / total for stage, seconds in spent.items()} if total else {}


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
