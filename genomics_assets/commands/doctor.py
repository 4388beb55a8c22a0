"""`doctor`: look at every store, say what is wrong and what to do."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable

from resources.diagnosis import Diagnosis, Finding
from resources.environment import Environment

Out = Callable[[str], object]


def doctor(environment: Environment, *, deep: bool = False, as_json: bool = False, out: Out = print) -> int:
    """Print a table of findings, or one JSON object a line; returns 1 where there is a problem, else 0.

    Args:
        environment: the settings; embedded servers are started where they are needed.
        deep: also read objects whose content a row vouches for.
        as_json: for programs.
        out: takes each line.
    """
    findings = list(Diagnosis(environment, deep=deep).findings())
    for line in map(_as_json, findings) if as_json else _table(findings):
        out(line)
    return int(any(finding.state == "problem" for finding in findings))


def _as_json(finding: Finding) -> str:
    return json.dumps(vars(finding), ensure_ascii=False)


def _table(findings: Iterable[Finding]) -> Iterable[str]:
    found = list(findings)
    first = max(len(finding.check) for finding in found)
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    margin = " " * (8 + first + 2)
    for finding in found:
        start = f"{finding.state:<8}{finding.check:<{first}}  "
        yield textwrap.fill(finding.what, width, initial_indent=start, subsequent_indent=margin)
        if finding.remedy:
            yield textwrap.fill(
                f"-> {finding.remedy}", width, initial_indent=margin, subsequent_indent=margin + "   "
            )
    count = {state: sum(f.state == state for f in found) for state in ("problem", "warning")}
    yield f"{count['problem']} problems, {count['warning']} warnings"
