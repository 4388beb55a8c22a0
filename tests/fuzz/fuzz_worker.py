"""A child that feeds mutated inputs to parsers: `python fuzz_worker.py PLAN`; it tells each input before it tries it.

The plan is JSON: {"cases": [[parser, number], ...]}. Lines on stdout: `try <index>` before each input; `bad <index>
<what>` where a parser raised what it must not, or took too much memory. A crash is the end of the lines.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from mutation import mutated
from parsers import REFUSALS, Parser, parsers

MOST_BYTES = 500 << 20
# No single input may end the machine.
ADDRESS_SPACE = 12 << 30


def _crash(folder: Path, data: bytes) -> None:
    if data:
        os.abort()


def _hang(folder: Path, data: bytes) -> None:
    while data:
        pass


MISBEHAVING = {"a crash": Parser(_crash, [b"", b"x"]), "a hang": Parser(_hang, [b"", b"x"])}
"""Parsers by which the net is tried; both take their first seed, or the child would end before it began."""


def input_of(parser: Parser, name: str, number: int) -> bytes:
    """The input of this number; always the same one. Number 0 and up to the seeds' count are the seeds themselves."""
    if number < len(parser.seeds):
        data = parser.seeds[number]
    else:
        dice = random.Random(f"{name} {number}")
        data = mutated(dice.choice(parser.seeds), parser.seeds, dice)
    return data if parser.wrap is None else parser.wrap(data)


def attempt(parser: Parser, folder: Path, data: bytes) -> str | None:
    """What is wrong with how an input was taken; None where it was taken or refused as it should be."""
    with suppress(OSError):
        # Linux lets the peak begin anew; a process has that of the one which started it, too.
        Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    try:
        parser.call(folder, data)
    except REFUSALS as error:
        if not str(error).strip():
            return "a refusal without a word"
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:600].replace(
            "\n", " "
        )
    grown = _peak() - before
    return f"{grown >> 20} MB of memory" if grown > MOST_BYTES else None


def _peak() -> int:
    """Most bytes of memory that this process has had."""
    try:
        told = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return int(told.partition("VmHWM:")[2].split()[0]) << 10


def main(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    known = parsers() | MISBEHAVING
    used = sorted({name for name, _ in plan["cases"]})
    # Imports, compilation and the first allocation of libraries are not an input's doing.
    for name in used:
        with tempfile.TemporaryDirectory() as folder:
            attempt(known[name], Path(folder), input_of(known[name], name, 0))
    for index, (name, number) in enumerate(plan["cases"]):
        print(f"try {index}", flush=True)
        folder = Path(tempfile.mkdtemp())
        wrong = attempt(known[name], folder, input_of(known[name], name, number))
        shutil.rmtree(folder)
        if wrong is not None:
            print(f"bad {index} {wrong}", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
