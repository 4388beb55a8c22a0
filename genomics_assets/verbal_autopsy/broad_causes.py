"""From specific causes of death to the broad ones that calibration works on, for newborns and for children.

The broad causes and what belongs to each follow the analysis of CHAMPS data (Pramanik et al. 2025, Annals of Applied
Statistics 19:1214) and its package vacalibration (MIT). Names are compared without regard to case, spaces, hyphens and
underscores.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from genomics_assets.input_error import InputError

OTHER = "other"
UNSPECIFIED, UNDETERMINED = "Unspecified", "Undetermined"
NAMED_AT_MOST = 8

_SAME_FOR_BOTH = {
    "other": [
        "abortion-related death", "acute abdomen", "acute cardiac disease", "anaemia of pregnancy", "asthma",
        "breast neoplasms", "chronic obstructive pulmonary dis", "contact with venomous plant/animal", "diabetes mellitus",
        "digestive neoplasms", "ectopic pregnancy", "epilepsy", "fresh stillbirth", "liver cirrhosis",
        "macerated stillbirth", "obstetric haemorrhage", "obstructed labour", "oral neoplasms",
        "other and unspecified cardiac dis", "other and unspecified maternal cod", "other and unspecified ncd",
        "other and unspecified neonatal cod", "other and unspecified neoplasms", "pregnancy-induced hypertension",
        "renal failure", "reproductive neoplasms mf", "respiratory neoplasms", "ruptured uterus", "severe anaemia",
        "sickle cell with crisis", "stroke", "undetermined",
    ],
    "pneumonia": ["acute resp infect incl pneumonia", "neonatal pneumonia"],
}  # fmt: skip
_INJURIES = [
    "accid drowning and submersion", "accid expos to smoke fire & flame", "accid fall", "accid poisoning & noxious subs",
    "assault", "exposure to force of nature", "intentional self-harm", "other and unspecified external cod",
    "other transport accident", "road traffic accident",
]  # fmt: skip
_INFECTIONS = [
    "dengue fever", "haemorrhagic fever (non-dengue)", "measles", "meningitis and encephalitis", "neonatal sepsis",
    "other and unspecified infect dis", "pertussis", "pregnancy-related sepsis", "pulmonary tuberculosis",
    "sepsis (non-obstetric)", "tetanus",
]  # fmt: skip
# The order is that of the published matrices.
_SPECIFIC: dict[str, dict[str, list[str]]] = {
    "neonate": {
        "congenital_malformation": ["congenital malformation", "malformation"],
        "pneumonia": _SAME_FOR_BOTH["pneumonia"],
        "sepsis_meningitis_inf": [
            *_INFECTIONS, "diarrhoeal diseases", "diarrhea", "hiv/aids related death", "malaria", "sepsis", "meningitis",
            "nnt",
        ],
        "ipre": ["birth asphyxia", "intrapartum"],
        "other": [*_SAME_FOR_BOTH["other"], *_INJURIES, "severe malnutrition"],
        "prematurity": ["prematurity", "preterm"],
    },
    "child": {
        "malaria": ["malaria"],
        "pneumonia": _SAME_FOR_BOTH["pneumonia"],
        "diarrhea": ["diarrhoeal diseases", "diarrhea/dysentery"],
        "severe_malnutrition": ["severe malnutrition", "malnutrition"],
        "hiv": ["hiv/aids related death", "aids"],
        "injury": _INJURIES,
        "other": _SAME_FOR_BOTH["other"],
        "other_infections": [*_INFECTIONS, "meningitis/encephalitis"],
        "nn_causes": [
            "congenital malformation", "birth asphyxia", "prematurity", "malformation", "intrapartum", "preterm",
        ],
    },
}  # fmt: skip

BROAD_CAUSES: dict[str, tuple[str, ...]] = {age: tuple(table) for age, table in _SPECIFIC.items()}
DISPLAY_NAMES = {
    "congenital_malformation": "Congenital malformation",
    "pneumonia": "Pneumonia",
    "sepsis_meningitis_inf": "Sepsis, meningitis and other infections",
    "ipre": "Intrapartum-related events",
    "other": "Other",
    "prematurity": "Prematurity",
    "malaria": "Malaria",
    "diarrhea": "Diarrhoea",
    "severe_malnutrition": "Severe malnutrition",
    "hiv": "HIV",
    "injury": "Injury",
    "other_infections": "Other infections",
    "nn_causes": "Neonatal causes",
}


@dataclass(frozen=True)
class BroadAssignment:
    """The broad causes of deaths by one algorithm.

    Attributes:
        causes: the C broad causes of the age group.
        of_death: (N,) int8, the cause of each death; -1 where it is unspecified.
        unspecified: how many those are; they take no part in calibration.
        undetermined: how many were counted as `other` because the algorithm named no cause.
    """

    causes: tuple[str, ...]
    of_death: np.ndarray = field(repr=False)
    unspecified: int
    undetermined: int

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64, deaths by broad cause."""
        return np.bincount(self.of_death[self.of_death >= 0], minlength=len(self.causes))


def broad_cause(cause: str, age_group: str) -> str | None:
    """The broad cause of a specific one; None where the age group has no place for it.

    >>> broad_cause("Birth asphyxia", "neonate"), broad_cause("Birth asphyxia", "child"), broad_cause("Flu", "child")
    ('ipre', 'nn_causes', None)
    >>> broad_cause("Severe Malnutrition", "child"), broad_cause("sepsis-meningitis inf", "neonate")
    ('severe_malnutrition', 'sepsis_meningitis_inf')
    """
    return _LOOKUP[age_group].get(_folded(cause))


def assign_broad_causes(causes: Sequence[str], age_group: str) -> BroadAssignment:
    """Broad causes of deaths.

    `Undetermined` counts as `other`, `Unspecified` is left out; neither stops anything.

    Args:
        causes: the cause of each death, specific or broad already.
        age_group: `neonate` or `child`.

    Raises:
        InputError: a cause that the age group has no place for, with counts and the nearest known name; or nothing
            but unspecified deaths.
    """
    broad = BROAD_CAUSES[age_group]
    place = {name: number for number, name in enumerate(broad)}
    counts = Counter(causes)
    of_cause: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for cause, count in counts.items():
        if _folded(cause) == _folded(UNSPECIFIED):
            of_cause[cause] = -1
        elif (found := broad_cause(cause, age_group)) is not None:
            of_cause[cause] = place[found]
        else:
            unknown[cause] = count
    if unknown:
        raise _unmapped(unknown, age_group)
    of_death = np.fromiter((of_cause[cause] for cause in causes), dtype=np.int8, count=len(causes))
    unspecified = int((of_death < 0).sum())
    if unspecified == len(causes):
        raise InputError(
            f"all {len(causes):,} deaths are {UNSPECIFIED}, so there are no fractions to work on"
            if causes
            else "there are no deaths to work on",
            remedy="supply deaths with causes, or another algorithm",
        )
    undetermined = sum(n for cause, n in counts.items() if _folded(cause) == _folded(UNDETERMINED))
    return BroadAssignment(broad, of_death, unspecified, undetermined)


def mapping_report(causes: Iterable[str], age_group: str) -> list[tuple[str, int, str]]:
    """Each cause with its count and its broad cause (`excluded`, or `unmapped`), most frequent first."""
    rows = []
    for cause, count in Counter(causes).most_common():
        excluded = _folded(cause) == _folded(UNSPECIFIED)
        rows.append((cause, count, "excluded" if excluded else broad_cause(cause, age_group) or "unmapped"))
    return rows


def _unmapped(unknown: dict[str, int], age_group: str) -> InputError:
    """Causes are told, for they are names of diseases from a list; a cell that is none is only counted."""
    listed = sorted(unknown.items(), key=lambda item: -item[1])
    named = [
        f"{cause!r} ({count:,}{_suggestion(cause, age_group)})" if _is_shown(cause) else f"a cell ({count:,})"
        for cause, count in listed[:NAMED_AT_MOST]
    ]
    more = f" and {len(listed) - NAMED_AT_MOST} more" if len(listed) > NAMED_AT_MOST else ""
    elsewhere = [
        age for age in BROAD_CAUSES if age != age_group and all(broad_cause(c, age) for c in unknown)
    ]
    remedy = "correct them in the file"
    if elsewhere:
        remedy += f", or age_group: these are all causes of age group {elsewhere[0]}"
    return InputError(
        f"{sum(unknown.values()):,} deaths have causes that belong to no broad cause of age group {age_group}: "
        f"{', '.join(named)}{more}",
        remedy=remedy,
    )


def _is_shown(cause: str) -> bool:
    """Whether a cell looks like a cause and not like something about a person that slipped into the column."""
    near = difflib.get_close_matches(_folded(cause), _EVERY_NAME, 1, cutoff=0.6)
    return bool(near) and len(cause) <= 60


def _suggestion(cause: str, age_group: str) -> str:
    near = difflib.get_close_matches(_folded(cause), list(_LOOKUP[age_group]), 1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def _folded(cause: str) -> str:
    return re.sub(r"[\s_-]+", " ", cause).strip().lower()


def _lookup(table: dict[str, list[str]]) -> dict[str, str]:
    found = {_folded(specific): broad for broad, names in table.items() for specific in names}
    return found | {_folded(broad): broad for broad in table}


_LOOKUP = {age: _lookup(table) for age, table in _SPECIFIC.items()}
_EVERY_NAME = sorted({name for table in _LOOKUP.values() for name in table})
