"""The instrument itself: it changes what it should, sees what no test notices, and is believed by nobody unproven."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.mutation.mutants import REPOSITORY, mutants_of, path_of
from tests.mutation.report import Result
from tests.mutation.runner import Fate, Verdict
from tests.mutation.scope import SCOPE
from tests.mutation.survivors import ACCEPTED
from tests.proof.__main__ import INSTRUMENTS

TEXT = b'''
"""What is said is not changed."""

from comptoir_server.domain.payments import PaymentState as State

WAYS: dict[str, int] = {"a": 1, "b": True}


@property
def left(held: int, taken: int = 0) -> int:
    """Nor this."""
    if not held:
        raise ValueError(f"nothing is held of {taken}")
    note(held, taken)
    return held - taken if held > taken and State.VOIDED else 0
'''


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The instrument, in a process of its own."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=110)


def test_one_place_at_a_time_is_changed_in_every_way_that_is_known() -> None:
    assert [one.name.removeprefix("m:") for one in mutants_of("m", TEXT)] == [
        "WAYS: no {'a': 1}",
        "WAYS: no {'b': True}",
        "WAYS: 'a' -> 'aX'",
        "WAYS: 'b' -> 'bX'",
        "WAYS: 1 -> 2",
        "WAYS: 1 -> 0",
        "WAYS: True -> False",
        "left: 0 -> 1",
        "left: 0 -> -1",
        "left: not held -> held",
        "left: raise ValueError(f'nothing is held of {taken}') -> pass",
        "left: note(held, taken) -> pass",
        "left: note(held, taken) -> note(taken, held)",
        "left: return held - taken if held > taken and State.VOIDED else 0 -> return None",
        "left: held > taken and State.VOIDED -> held > taken or State.VOIDED",
        "left: held > taken -> held >= taken",
        "left: State.VOIDED -> not State.VOIDED",
        "left: State.VOIDED -> State.DECLINED",
        "left: held - taken -> held + taken",
        "left: 0 -> 1 #2",
        "left: 0 -> -1 #2",
    ]


def test_a_mutant_is_the_module_but_for_its_change() -> None:
    (one,) = [mutant for mutant in mutants_of("m", TEXT) if mutant.name == "m:left: held - taken -> held + taken"]

    assert one.applied(TEXT) == TEXT.replace(b"held - taken", b"(held + taken)")
    assert (one.line, one.function) == (15, 9)
    assert one.diff(TEXT).splitlines()[1:] == [
        "-    return held - taken if held > taken and State.VOIDED else 0",
        "+    return (held + taken) if held > taken and State.VOIDED else 0",
    ]


def test_what_no_test_notices_has_survived_and_what_one_must_notice_is_killed(tmp_path: Path) -> None:
    finished = run("-m", "tests.mutation", "--samples", "--json", str(tmp_path / "found"))

    looking, blind = json.loads((tmp_path / "found").read_text(encoding="utf-8"))
    of_the_number = sum(":KEEP_SECONDS:" in name for name in blind["survivors"])
    assert of_the_number >= 8
    assert looking["fates"] == {"killed": of_the_number, "unreached": looking["mutants"] - of_the_number}
    assert blind["fates"] == {"survived": looking["mutants"]}
    assert finished.returncode == 1
    assert "survived, and not listed: domain.requests:KEEP_SECONDS: 24 -> 25" in finished.stdout
    assert "-KEEP_SECONDS = 30 * 24 * 3600\n+KEEP_SECONDS = 30 * 25 * 3600" in finished.stdout


def test_tests_that_fail_without_any_mutant_kill_none() -> None:
    code = "from tests.mutation import report, scope\nreport.measured(scope.UNFIT, 1, 1.0, print)\n"

    assert "Unfit: the tests of domain.requests do not pass as it is" in run("-c", code).stderr


def test_a_process_that_takes_too_long_ends_or_raises_is_told_from_one_that_answers() -> None:
    code = (
        "import os, time\n"
        "from tests.support.forked import Job, run_forked\n"
        "jobs = [Job('late', lambda: time.sleep(60), 0.2), Job('gone', lambda: os._exit(3), 9.0),\n"
        "        Job('raises', lambda: 1 / 0, 9.0), Job('answers', lambda: [1], 9.0)]\n"
        "print([(one.job.name, one.answer, one.code, one.late) for one in run_forked(jobs, 1)])\n"
    )

    assert run("-c", code).stdout.strip() == str(
        [("late", None, -9, True), ("gone", None, 3, False), ("raises", None, 70, False), ("answers", [1], 0, False)]
    )


def test_a_survivor_that_is_not_listed_is_said_and_a_listed_one_that_is_killed_too() -> None:
    first, second, third, *_ = mutants_of("m", TEXT)
    result, accepted = Result("m"), {first.name: "it says the same", second.name: "it is dead"}

    said = [
        result.take(Verdict(first, Fate.SURVIVED, 0.0), "patch", accepted),
        result.take(Verdict(second, Fate.TIMED_OUT, 0.0), "patch", accepted),
        result.take(Verdict(third, Fate.UNREACHED, 0.0), "patch", accepted),
    ]

    assert said == [
        "survived, accepted (it says the same): m:WAYS: no {'a': 1}",
        "killed, but listed as a survivor: m:WAYS: no {'b': True}",
        "unreached, and not listed: m:WAYS: 'a' -> 'aX'\npatch",
    ]
    assert result.complaints == [said[1], "unreached, and not listed: m:WAYS: 'a' -> 'aX'"]
    assert (result.met, result.killed, result.accepted, result.share) == (3, 1, 1, 1 / 3)


def test_every_accepted_survivor_is_a_mutant_of_today_with_a_reason() -> None:
    today = {one.name for target in SCOPE for one in mutants_of(target.module, path_of(target.module).read_bytes())}

    assert len(today) > 1_500
    assert ACCEPTED.keys() - today == set()
    assert [name for name, reason in ACCEPTED.items() if not reason] == []


def test_the_proof_runs_every_module_of_the_scope_by_tests_that_are_there() -> None:
    files = {test.partition("::")[0] for target in SCOPE for test in target.tests}

    assert INSTRUMENTS["mutation"].target == len(SCOPE)
    assert [name for name in files if not (REPOSITORY / name).is_file()] == []


def test_a_module_that_is_not_mutated_is_named() -> None:
    finished = run("-m", "tests.mutation", "domain.nothing")

    assert (finished.returncode, "domain.nothing is not mutated" in finished.stderr) == (2, True)
