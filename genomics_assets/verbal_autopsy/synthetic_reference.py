"""A made-up reference: probbase, misclassification matrices, expert rules and mapping table of the published structure.

For tests, benchmarks and the demonstration. Its numbers are drawn from a seeded generator and say nothing about people. So
that it can never be taken for a real reference, its version says `synthetic`, its matrices are those of invented
countries, and its probbase and rules ask for an indicator, `i999s`, that no real questionnaire has.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES, broad_cause
from genomics_assets.verbal_autopsy.csmf import whole_deaths
from genomics_assets.verbal_autopsy.misclassification import AS_DIRICHLET, COLUMNS, MEAN
from genomics_assets.verbal_autopsy.reference_file import CHECKSUMS

VERSION = "synthetic-1"
COUNTRIES = ("Exampleland", "Sampleland")
MARKER = "i999s"

# Cause code, published name, and the age groups that it occurs in.
CAUSES = (
    ("b_0102", "01.02 Acute resp infect incl pneumonia", ("child",)),
    ("b_0103", "01.03 HIV/AIDS related death", ("child",)),
    ("b_0104", "01.04 Diarrhoeal diseases", ("child",)),
    ("b_0105", "01.05 Malaria", ("child",)),
    ("b_0106", "01.06 Measles", ("child",)),
    ("b_0107", "01.07 Meningitis and encephalitis", ("child", "neonate")),
    ("b_0302", "03.02 Severe malnutrition", ("child",)),
    ("b_0499", "04.99 Other and unspecified cardiac dis", ("child",)),
    ("b_1001", "10.01 Prematurity", ("neonate",)),
    ("b_1002", "10.02 Birth asphyxia", ("neonate",)),
    ("b_1003", "10.03 Neonatal pneumonia", ("neonate",)),
    ("b_1004", "10.04 Neonatal sepsis", ("neonate",)),
    ("b_1006", "10.06 Congenital malformation", ("child", "neonate")),
    ("b_1099", "10.99 Other and unspecified neonatal CoD", ("neonate",)),
    ("b_1201", "12.01 Road traffic accident", ("child",)),
    ("b_1203", "12.03 Accid fall", ("child",)),
)
SYMPTOMS_A_CAUSE = 5
_FIRST_SYMPTOM = 120
_INJURIES = {"b_1201": "i079o", "b_1203": "i083o"}
_AGES = {"i022g": "neonate", "i022e": "child", "i022f": "child"}
_OTHER_AGES = ("i022a", "i022b", "i022c", "i022d")
_SEXES = ("i019a", "i019b")
_PREGNANCY = (("a_nrp", "Not pregnant or recently delivered"), ("a_preg", "Pregnant at death"))
_CIRCUMSTANCES = (("c_cult", "Traditions"), ("c_emer", "Emergencies"))
_CHARACTERISTIC, _BACKGROUND = ("A+", "A"), ("B-", "C+")


@dataclass(frozen=True)
class SyntheticBatch:
    """A made-up batch, and what was planted in it.

    Attributes:
        csv: the file's text.
        true_causes: (N,) positions in `BROAD_CAUSES` of the age group.
        said_causes: (N,) likewise, what the answers speak for.
    """

    csv: str
    true_causes: np.ndarray
    said_causes: np.ndarray


def write_reference(folder: Path) -> None:
    """Write all files of the reference, the same bytes each time, with their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "probbase_synthetic.csv": probbase_csv(),
        "misclassification_synthetic.csv": matrices_csv(),
        "crossva_synthetic.csv": mapping_csv(),
        **{f"eava_{age}_synthetic.yaml": rules_yaml(age) for age in BROAD_CAUSES},
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    sums = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.items()]
    (folder / CHECKSUMS).write_text("".join(sums))


def indicators() -> list[str]:
    """The indicators of the synthetic probbase, in order."""
    return [*_SEXES, *_OTHER_AGES, *_AGES, "i077o", *_INJURIES.values(), *_symptoms(), MARKER]


def probbase_csv(seed: int = 16) -> str:
    """The probbase as CSV, in the columns of the published one."""
    draw = np.random.default_rng(seed)
    columns = [*_PREGNANCY, *((code, name) for code, name, _ in CAUSES), *_CIRCUMSTANCES]
    head = ["indic", "qdesc", "sdesc", "who_2016", "ilab", "subst", "samb"]
    head += [*(f"dontask{number}" for number in range(1, 9)), "doaskif", "nnonly"]
    blank = [""] * (len(head) - 3)
    rows = [
        [*head, *(code for code, _ in columns)],
        ["", "[OUTPUT CATEGORY]", "", *blank, *(name for _, name in columns)],
        ["", "[UNCONDITIONAL PRIOR]", f"probbase {VERSION}", *blank, *("B" for _ in columns)],
    ]
    for name in indicators():
        rules = [f"{other}Y" for other in _contradicting(name)]
        rules += [""] * (8 - len(rules))
        asked_if = "i077oY" if name in _INJURIES.values() else ""
        grades = [
            "A",
            "A",
            *(_grade(name, code, ages, draw) for code, _, ages in CAUSES),
            *(str(draw.choice(["B", "C"])) for _ in _CIRCUMSTANCES),
        ]
        substantive = _substantive(name).upper()
        newborns = "i022gY" if _is_for_newborns(name) else ""
        rows.append(
            [
                name,
                f"Made-up question {name}",
                name,
                "",
                "",
                substantive,
                "B",
                *rules,
                asked_if,
                newborns,
                *grades,
            ]
        )
    return _csv(rows)


def matrices_csv(seed: int = 2016) -> str:
    """Misclassification matrices of the invented countries, as CSV."""
    rows: list[Sequence[object]] = []
    for (age, algorithm, country), (mean, concentration) in _matrices(seed).items():
        causes = BROAD_CAUSES[age]
        for kind, values in ((AS_DIRICHLET, mean * concentration), (MEAN, mean)):
            rows += [
                (age, algorithm, country, kind, true, said, repr(round(float(values[i, j]), 10)))
                for i, true in enumerate(causes)
                for j, said in enumerate(causes)
            ]
    return f"# version: {VERSION}\n" + _csv([COLUMNS, *rows])


def mean_matrix(age_group: str, algorithm: str, country: str, seed: int = 2016) -> np.ndarray:
    """(C, C) mean misclassification rates of the synthetic reference."""
    return _matrices(seed)[age_group, algorithm.lower(), country][0]


def rules_yaml(age_group: str) -> str:
    """Expert rules as YAML: a cause is named where at least three of its five symptoms are there."""
    lines = [f"version: {VERSION}", f"age_group: {age_group}", "terms:", f"  made_up: {MARKER} == y"]
    causes = []
    for code, title, ages in CAUSES:
        if age_group not in ages:
            continue
        symptoms = _symptoms_of(code)
        if len(symptoms) == 1:
            when = f"{symptoms[0]} == y"
        else:
            pairs = [
                " and ".join(f"{symptoms[place]} == {_substantive(symptoms[place])}" for place in (a, b, c))
                for a in range(5)
                for b in range(a + 1, 5)
                for c in range(b + 1, 5)
            ]
            when = " or ".join(f"({pair})" for pair in pairs)
        lines.append(f'  said_{code}: "{when}"')
        causes.append(f'  - {{cause: "{title.split(" ", 1)[1]}", when: made_up and said_{code}}}')
    return "\n".join([*lines, "causes:", *causes, ""])


def mapping_csv() -> str:
    """A mapping table for raw answers: question `Id10nnn` for indicator `innn`."""
    rows: list[Sequence[str]] = [
        ("New Column Name", "New Column Documentation", "Source Column ID", "Source Column Documentation",
         "Relationship", "Condition", "Prerequisite"),
        ("i019a", "", "Id10019", "", "eq", "male", ""),
        ("i019b", "", "Id10019", "", "eq", "female", ""),
        ("i022g", "", "Id10022", "", "lt", "28", ""),
        ("i022f", "", "Id10022", "", "between", "28 to 364", ""),
        ("i022e", "", "Id10022", "", "between", "365 to 1826", ""),
    ]  # fmt: skip
    plain = [name for name in indicators() if name not in (*_SEXES, *_AGES, *_OTHER_AGES)]
    rows += [
        (name, "", f"Id10{name[1:4]}", "", "eq", "yes", "i077o" if name in _INJURIES.values() else "")
        for name in plain
    ]
    return _csv(rows)


def synthetic_batch(
    fractions: Mapping[str, float],
    deaths: int,
    *,
    age_group: str = "neonate",
    algorithm: str = "interva",
    country: str = COUNTRIES[0],
    seed: int = 1,
) -> SyntheticBatch:
    """A batch of deaths whose true fractions are planted, and whose answers err as the algorithm's matrix says.

    Args:
        fractions: of the true broad causes; they sum to one.
        deaths: N.
        age_group: of all deaths.
        algorithm: whose matrix moves a death from its true cause to the one that its answers speak for.
        country: of the matrix.
        seed: the same one gives the same batch.
    """
    draw = np.random.default_rng(seed)
    causes = BROAD_CAUSES[age_group]
    # Quotas in place of chance, so that the fractions of the batch are those planted and not merely near to them.
    planted = whole_deaths(np.array([fractions.get(cause, 0.0) for cause in causes]), deaths)
    rows = mean_matrix(age_group, algorithm, country)
    table = np.array([whole_deaths(row, count) for row, count in zip(rows, planted.tolist(), strict=True)])
    pairs = np.repeat(np.indices(table.shape).reshape(2, -1).T, table.ravel(), axis=0)
    true, said = draw.permutation(pairs).T
    names = indicators()
    lines: list[Sequence[str]] = [["ID", *names, "age"]]
    for number, place in enumerate(said.tolist()):
        answers = _answers(causes[place], age_group, draw)
        lines.append([f"made-up-{number + 1:05d}", *(answers[name] for name in names), answers["age"]])
    return SyntheticBatch(_csv(lines), true, said)


def _answers(broad: str, age_group: str, draw: np.random.Generator) -> dict[str, str]:
    fitting = [
        code
        for code, title, ages in CAUSES
        if age_group in ages and broad_cause(title.split(" ", 1)[1], age_group) == broad
    ]
    code = str(draw.choice(fitting))
    answers = dict.fromkeys(indicators(), "n")
    for name in _symptoms():
        chance = 0.92 if name in _symptoms_of(code) else 0.03
        told = draw.random() < chance
        answers[name] = "." if draw.random() < 0.03 else _substantive(name) if told else _other(name)
    if code in _INJURIES:
        answers["i077o"] = answers[_INJURIES[code]] = "y"
    answers[_SEXES[int(draw.integers(2))]] = "y"
    answers[str(draw.choice([name for name, age in _AGES.items() if age == age_group]))] = "y"
    answers[MARKER] = "y"
    answers["age"] = str(int(draw.integers(0, 28) if age_group == "neonate" else draw.integers(28, 1826)))
    return answers


def _matrices(seed: int) -> dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]:
    """Mean (C, C) and concentration (C, 1) by age group, algorithm and country."""
    draw = np.random.default_rng(seed)
    found = {}
    for age, causes in BROAD_CAUSES.items():
        size, other = len(causes), causes.index("other")
        for country in COUNTRIES:
            usual, sensitivity = (
                draw.dirichlet(np.full(size, 0.6), size=size),
                draw.uniform(0.6, 0.85, (size, 1)),
            )
            for algorithm in ("eava", "insilicova", "interva"):
                spread = 0.9 * usual + 0.1 * draw.dirichlet(np.ones(size), size=size)
                # `other` is never calibrated; so that a planted fraction of it can be found again, little strays there.
                spread[:, other] *= 0.02
                np.fill_diagonal(spread, 0)
                spread /= spread.sum(axis=1, keepdims=True)
                hit = sensitivity + draw.uniform(-0.02, 0.02, (size, 1))
                hit[other] = 0.97
                mean = np.eye(size) * hit + (1 - hit) * spread
                found[age, algorithm, country] = (mean, draw.uniform(120, 240, size=(size, 1)))
    return found


def _grade(name: str, code: str, ages: Sequence[str], draw: np.random.Generator) -> str:
    if name in _OTHER_AGES or (name in _AGES and _AGES[name] not in ages):
        return "N"
    if name in _symptoms_of(code):
        return str(draw.choice(_CHARACTERISTIC))
    if name == "i077o":
        return "A+" if code in _INJURIES else "C"
    return "A" if name in (*_AGES, *_SEXES, MARKER) else str(draw.choice(_BACKGROUND))


def _substantive(name: str) -> str:
    """The answer that counts: no for the last symptom of each cause, so that both kinds occur."""
    return "n" if name in _symptoms() and int(name[1:4]) % SYMPTOMS_A_CAUSE == 4 else "y"


def _other(name: str) -> str:
    return "y" if _substantive(name) == "n" else "n"


def _is_for_newborns(name: str) -> bool:
    """Whether it is a symptom of a cause that newborns alone have."""
    return any(name in _symptoms_of(code) for code, _, ages in CAUSES if ages == ("neonate",))


def _contradicting(name: str) -> list[str]:
    for group in (_SEXES, (*_OTHER_AGES, *_AGES)):
        if name in group:
            return [other for other in group if other != name]
    return []


def _symptoms() -> list[str]:
    plain = [code for code, _, _ in CAUSES if code not in _INJURIES]
    return [name for code in plain for name in _symptoms_of(code)]


def _symptoms_of(code: str) -> list[str]:
    if code in _INJURIES:
        return [_INJURIES[code]]
    plain = [known for known, _, _ in CAUSES if known not in _INJURIES]
    first = _FIRST_SYMPTOM + SYMPTOMS_A_CAUSE * plain.index(code)
    return [f"i{number}o" for number in range(first, first + SYMPTOMS_A_CAUSE)]


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
