"""Consistency rules of the WHO questionnaire, as InterVA-5 applies them before any cause is looked for.

Three kinds of rule, in two passes over the indicators: an answer is cleared where another answer says that the question
was not to be asked; a substantive answer sets the answer that it takes for granted; what only newborns are asked is
cleared for everyone else. Source: Byass et al. (2019), BMC Medicine 17:102, and the InterVA-5 user guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genomics_assets.verbal_autopsy.probbase import Probbase

YES, NO, UNKNOWN = 1, 0, -1

SEXES = ("i019a", "i019b")
AGES = ("i022a", "i022b", "i022c", "i022d", "i022e", "i022f", "i022g")
# Numbers of the questions about symptoms; those after them are about circumstances and care.
SYMPTOM_NUMBERS = range(77, 409)
PASSES = 2


def consistent_answers(probbase: Probbase, answers: np.ndarray, *, strict: bool = False) -> np.ndarray:
    """Answers with contradictions cleared.

    Args:
        probbase: says which answers go together.
        answers: (N, S) int8 of 1 yes, 0 no, -1 unknown.
        strict: clear whatever should not have been asked, as InSilicoVA does, and not substantive answers alone.

    Returns:
        (N, S) int8, a copy.
    """
    # One indicator's answers lie together, for each rule reads and writes whole columns.
    now = np.array(answers.T, dtype=np.int8, order="C")
    for _ in range(PASSES):
        for row, substantive in enumerate(probbase.substantive):
            for rule in probbase.never_with[row]:
                clash = now[rule.indicator] == rule.answer
                if not strict:
                    clash &= now[row] == substantive
                now[row][clash] = UNKNOWN
            if (after := probbase.asked_after[row]) is not None:
                told = now[after.indicator]
                # An answer that is the substantive one already is left as it was.
                unset = (told != after.answer) & (told != substantive)
                told[unset & (now[row] == substantive)] = after.answer
            if (newborn := probbase.newborns_only[row]) is not None:
                elder = now[newborn.indicator] != newborn.answer
                now[row][elder & (now[row] == substantive)] = UNKNOWN
    return np.ascontiguousarray(now.T)


def unusable_records(probbase: Probbase, answers: np.ndarray) -> dict[str, np.ndarray]:
    """Records that no algorithm can work on, by the reason: (N,) bool for each, a record under its first reason only."""
    yes = answers == YES
    of = {name: _rows(probbase, names) for name, names in (("no_age", AGES), ("no_sex", SEXES))}
    found = {name: ~yes[:, rows].any(axis=1) for name, rows in of.items()}
    found["no_symptom"] = ~yes[:, probbase.rows(SYMPTOM_NUMBERS)].any(axis=1)
    seen = np.zeros(len(answers), dtype=bool)
    for name, records in found.items():
        found[name] = records & ~seen
        seen |= records
    return found


def _rows(probbase: Probbase, names: tuple[str, ...]) -> list[int]:
    return [probbase.row_of[name] for name in names if name in probbase.row_of]
