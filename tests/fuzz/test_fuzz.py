"""Mutated inputs for every parser: none ends the process, hangs, eats memory, or raises but the one error for input.

Each goes through a child process. An input is named by its parser and its number, and always the same: see
`fuzz_worker.input_of`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from fuzz_worker import attempt, input_of
from hypothesis import given, settings
from hypothesis import strategies as st
from parsers import REFUSALS, Parser, parsers

HERE = Path(__file__).resolve().parent
MOST_SECONDS = 5.0
# A machine that is out of breath must not make a hang of a slow import.
MOST_WALL_SECONDS = 60.0

Case = tuple[str, int]


@dataclass
class Findings:
    """What went wrong, by case."""

    tried: int = 0
    wrong: dict[Case, str] = field(default_factory=dict)


def fuzz(cases: list[Case], folder: Path) -> Findings:
    """Feed the cases to children, one child after another where one ends before its time."""
    found = Findings()
    left = list(cases)
    while left:
        done = _child(left, folder, found)
        left = left[done:]
    return found


def _child(cases: list[Case], folder: Path, found: Findings) -> int:
    """How many cases are done with, the one that ended the child included."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"cases": cases}))
    child = subprocess.Popen(
        [sys.executable, str(HERE / "fuzz_worker.py"), str(plan)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=HERE.parents[1], text=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
             "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stdout is not None
    current, since, used, held = -1, time.monotonic(), 0.0, b""
    try:
        while True:
            ready, _, _ = select.select([child.stdout], [], [], 0.5)
            if ready:
                piece = os.read(child.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                *lines, held = (held + piece).split(b"\n")
                for line in lines:
                    word, _, rest = line.decode().partition(" ")
                    if word == "done":
                        return len(cases)
                    index, _, what = rest.partition(" ")
                    if word == "try":
                        current, since, used = int(index), time.monotonic(), _cpu(child.pid)
                        found.tried += 1
                    elif word == "bad":
                        found.wrong[cases[int(index)]] = what
            elif current >= 0 and (
                _cpu(child.pid) - used > MOST_SECONDS or time.monotonic() - since > MOST_WALL_SECONDS
            ):
                found.wrong[cases[current]] = f"a hang of over {MOST_SECONDS:g} s"
                return current + 1
    finally:
        child.kill()
        child.wait()
    assert current >= 0, "the child did not begin"
    found.wrong[cases[current]] = f"the process ended with status {child.returncode}"
    return current + 1


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def cases_of(each: int) -> list[Case]:
    """So many inputs for each parser, times its weight, beyond its seeds."""
    return [
        (name, len(parser.seeds) + number)
        for name, parser in parsers().items()
        for number in range(each * parser.weight)
    ]


def told(found: Findings) -> str:
    return "\n".join(f"{name} {number}: {what}" for (name, number), what in found.wrong.items())


def test_each_parser_takes_its_seeds(tmp_path: Path) -> None:
    for name, parser in parsers().items():
        for number in range(len(parser.seeds)):
            folder = tmp_path / f"{name} {number}"
            folder.mkdir()
            # As it is, not as an attempt: a refused seed would fuzz nothing but the refusal.
            parser.call(folder, input_of(parser, name, number))


@pytest.mark.timeout(900)
def test_mutated_inputs_are_taken_or_refused(tmp_path: Path) -> None:
    found = fuzz(cases_of(6), tmp_path)

    assert found.tried >= 300
    assert not found.wrong, told(found)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_twenty_thousand_mutated_inputs_are_taken_or_refused(tmp_path: Path) -> None:
    began = time.monotonic()
    found = fuzz(cases_of(400), tmp_path)

    print(f"{found.tried:,} mutated inputs, {len(found.wrong):,} findings, {time.monotonic() - began:.0f} s")
    assert found.tried >= 20_000
    assert not found.wrong, told(found)


def test_a_crash_a_hang_and_a_strange_error_are_findings(tmp_path: Path) -> None:
    """The net holds: three parsers that misbehave, in the child's own way of looking."""

    def raises(folder: Path, data: bytes) -> None:
        raise KeyError("x")

    def eats(folder: Path, data: bytes) -> None:
        bytearray(600 << 20)[:: 1 << 12] = b"x" * ((600 << 20) >> 12)

    found = fuzz([("gmt", 3), ("a crash", 1), ("gmt", 4), ("a hang", 1), ("gmt", 5)], tmp_path)
    assert found.wrong == {
        ("a crash", 1): "the process ended with status -6", ("a hang", 1): "a hang of over 5 s",
    }  # fmt: skip
    assert found.tried == 5, "what came after them was tried too"
    assert "KeyError" in str(attempt(Parser(raises, [b""]), tmp_path, b""))
    assert "MB of memory" in str(attempt(Parser(eats, [b""]), tmp_path, b""))


ANY_BYTES = st.one_of(
    st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
SMALL = ("vcf yaml", "fields.json", "ped", "filter expression", "phenotypes.csv", "legacy json", "fam")


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(data=ANY_BYTES)
def test_whatever_bytes_there_are_they_are_taken_or_refused(
    name: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refusal = None
    try:
        parsers()[name].call(tmp_path_factory.mktemp("drop"), data)
    except REFUSALS as error:
        refusal = str(error)
    assert refusal is None or refusal.strip()
