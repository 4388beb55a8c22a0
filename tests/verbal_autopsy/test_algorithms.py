"""InterVA, InSilicoVA and EAVA say what their published descriptions say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy import eava, insilicova, interva
from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES, assign_broad_causes
from genomics_assets.verbal_autopsy.consistency import consistent_answers, unusable_records
from genomics_assets.verbal_autopsy.eava import CauseRule, RulesFile
from genomics_assets.verbal_autopsy.insilicova import InSilicoSettings
from genomics_assets.verbal_autopsy.probbase import (
    PROBABILITIES,
    Probbase,
    find_probbase,
    read_probbase,
)
from genomics_assets.verbal_autopsy.reference_file import check_reference
from genomics_assets.verbal_autopsy.submission import read_symptoms, read_table
from genomics_assets.verbal_autopsy.synthetic_reference import SyntheticBatch, synthetic_batch

NEONATE = {
    "congenital_malformation": 0.1, "pneumonia": 0.12, "sepsis_meningitis_inf": 0.28, "ipre": 0.22, "other": 0.05,
    "prematurity": 0.23,
}  # fmt: skip
CHILD = {"malaria": 0.3, "pneumonia": 0.2, "diarrhea": 0.2, "injury": 0.2, "nn_causes": 0.1}


def answers_of(tmp_path: Path, batch: SyntheticBatch, probbase: Probbase, age_group: str) -> np.ndarray:
    path = tmp_path / "batch.csv"
    path.write_text(batch.csv)
    return read_symptoms(read_table(path), probbase.indicators, age_group).answers


def random_answers(probbase: Probbase, deaths: int, seed: int) -> np.ndarray:
    """Answers that contradict one another all over."""
    draw = np.random.default_rng(seed)
    return draw.choice([1, 0, -1], p=[0.15, 0.55, 0.3], size=(deaths, len(probbase.indicators))).astype(
        np.int8
    )


# -- consistency ---------------------------------------------------------------------------------------------------


def plainly_consistent(probbase: Probbase, answers: list[int], strict: bool) -> list[int]:
    """The rules for one death, one question after the other."""
    now = list(answers)
    for _ in range(2):
        for row in range(len(now)):
            substantive = int(probbase.substantive[row])
            for rule in probbase.never_with[row]:
                counts = now[row] == substantive or (strict and now[row] != -1)
                if counts and now[rule.indicator] == rule.answer:
                    now[row] = -1
            after = probbase.asked_after[row]
            if (
                after is not None
                and now[row] == substantive
                and now[after.indicator] not in (after.answer, substantive)
            ):
                now[after.indicator] = after.answer
            newborn = probbase.newborns_only[row]
            if newborn is not None and now[row] == substantive and now[newborn.indicator] != newborn.answer:
                now[row] = -1
    return now


@pytest.mark.parametrize("strict", [False, True])
def test_contradictions_are_cleared_as_one_by_one(probbase: Probbase, strict: bool) -> None:
    answers = random_answers(probbase, 60, seed=1)
    found = consistent_answers(probbase, answers, strict=strict)
    assert found.tolist() == [plainly_consistent(probbase, row, strict) for row in answers.tolist()]
    assert (found != answers).any()


def test_a_road_accident_tells_of_an_injury(probbase: Probbase) -> None:
    answers = np.full((1, len(probbase.indicators)), -1, dtype=np.int8)
    answers[0, probbase.row_of["i079o"]] = 1
    assert consistent_answers(probbase, answers)[0, probbase.row_of["i077o"]] == 1


def test_records_without_age_sex_or_symptom_are_found_once_each(probbase: Probbase) -> None:
    answers = np.zeros((4, len(probbase.indicators)), dtype=np.int8)
    row = probbase.row_of
    answers[0, [row["i022g"], row["i019a"], row["i125o"]]] = 1
    answers[1, [row["i019a"], row["i125o"]]] = 1
    answers[2, [row["i022g"], row["i125o"]]] = 1
    answers[3, [row["i022g"], row["i019a"]]] = 1
    found = unusable_records(probbase, answers)
    assert {name: np.flatnonzero(records).tolist() for name, records in found.items()} == {
        "no_age": [1],
        "no_sex": [2],
        "no_symptom": [3],
    }


# -- InterVA ---------------------------------------------------------------------------------------------------------


def plain_interva(probbase: Probbase, answers: list[int]) -> tuple[list[float], list[str]]:
    """Bayes' rule for one death, normalised after each symptom, and the causes that it names."""
    clean = plainly_consistent(probbase, answers, strict=False)
    names, codes = probbase.cause_names, probbase.cause_codes
    chance = [float(PROBABILITIES[grade]) for grade in probbase.priors[probbase.causes]]
    for code, prior in {"b_0103": 0.005, "b_0105": 0.005, "b_0403": 0.00001}.items():
        if code in codes:
            chance[codes.index(code)] = prior
    for row, answer in enumerate(clean):
        if answer == probbase.substantive[row]:
            grades = probbase.grades[row, probbase.causes]
            chance = [c * float(PROBABILITIES[grade]) for c, grade in zip(chance, grades, strict=True)]
        total = sum(chance)
        chance = [c / total for c in chance] if total > 0 else chance
    order = sorted(range(len(chance)), key=lambda at: (-round(chance[at], 12), at))[:3]
    first = chance[order[0]]
    if first < 0.4:
        return chance, []
    return chance, [names[at] for at in order if chance[at] >= 0.5 * first - 1e-9]


def test_interva_is_bayes_rule(probbase: Probbase) -> None:
    answers = random_answers(probbase, 80, seed=2)
    # Sparse answers, so that some deaths have two causes and some none.
    answers[40:][np.random.default_rng(3).random(answers[40:].shape) < 0.9] = 0
    result = interva.assign_causes(probbase, answers)
    plain = [plain_interva(probbase, row) for row in answers.tolist()]
    np.testing.assert_allclose(result.probabilities, [chance for chance, _ in plain], atol=1e-12)
    named = [[result.causes[at] for at in row if at >= 0] for row in result.ranked]
    assert named == [causes for _, causes in plain]
    assert {len(causes) for causes in named} >= {0, 1, 2}


def test_a_cause_at_exactly_half_of_the_first_is_named(probbase: Probbase) -> None:
    half = np.zeros((1, len(probbase.cause_names)))
    half[0, 3], half[0, 5], half[0, 7] = 0.6 + 1e-13, 0.3 - 1e-13, 0.1
    assert interva._ranked(half).tolist() == [[3, 5, -1]]
    none = np.full((1, 4), 0.25)
    assert interva._ranked(none).tolist() == [[-1, -1, -1]]


def test_interva_counts_what_no_cause_was_named_for_as_undetermined(
    tmp_path: Path, probbase: Probbase
) -> None:
    answers = answers_of(tmp_path, synthetic_batch(NEONATE, 60), probbase, "neonate")
    answers[:6] = -1
    result = interva.assign_causes(probbase, answers)
    csmf = result.csmf()
    assert sum(csmf.values()) == pytest.approx(1)
    assert result.top_causes[:6] == ["Undetermined"] * 6
    assert csmf["Undetermined"] >= 0.1


def test_prevalence_moves_malaria(tmp_path: Path, probbase: Probbase) -> None:
    answers = np.zeros((1, len(probbase.indicators)), dtype=np.int8)
    answers[0, [probbase.row_of["i022e"], probbase.row_of["i019a"]]] = 1
    malaria = probbase.cause_names.index("Malaria")
    high = interva.assign_causes(probbase, answers, malaria="high").probabilities[0, malaria]
    low = interva.assign_causes(probbase, answers, malaria="very low").probabilities[0, malaria]
    assert high > 100 * low


def test_the_dashboards_sample_gives_its_22_deaths(shared_data: Path) -> None:
    """50 records, of which 28 tell no sex; needs the published probbase (the wheel vacheck, or one's own reference)."""
    import os

    folder = os.environ.get("GENOMICS_TEST_VA_REFERENCE")
    try:
        probbase = read_probbase(find_probbase(Path(folder) if folder else None))
    except InputError:
        pytest.skip("there is no published probbase")
    table = read_table(shared_data / "verbal_autopsy" / "sample_openva_neonate.csv")
    records = read_symptoms(table, probbase.indicators, "neonate")
    unusable = unusable_records(probbase, records.answers)
    usable = ~np.logical_or.reduce(list(unusable.values()))
    assert (int(unusable["no_sex"].sum()), int(usable.sum())) == (28, 22)
    causes = interva.assign_causes(probbase, records.answers[usable]).top_causes
    assert causes.count("Birth asphyxia") == 16


# -- InSilicoVA ------------------------------------------------------------------------------------------------------

SHORT = InSilicoSettings(iterations=600, warm_up=300, thin=5)


def test_insilicova_finds_the_planted_causes(tmp_path: Path, probbase: Probbase) -> None:
    batch = synthetic_batch(CHILD, 150, age_group="child")
    result = insilicova.assign_causes(probbase, answers_of(tmp_path, batch, probbase, "child"), SHORT)
    found = assign_broad_causes(result.top_causes, "child")
    assert (found.of_death == batch.said_causes).mean() > 0.98
    np.testing.assert_allclose(result.csmf_draws.sum(axis=1), 1)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1)
    assert 0.05 < result.acceptance < 0.95
    injured = batch.said_causes == BROAD_CAUSES["child"].index("injury")
    external = [cause in ("Road traffic accident", "Accid fall") for cause in result.causes]
    assert result.probabilities[injured][:, external].sum(axis=1) == pytest.approx(1)
    assert result.csmf_draws[:, external].sum(axis=1) == pytest.approx(injured.mean())


def test_insilicova_never_gives_a_child_a_newborns_cause(tmp_path: Path, probbase: Probbase) -> None:
    answers = answers_of(tmp_path, synthetic_batch(CHILD, 60, age_group="child"), probbase, "child")
    result = insilicova.assign_causes(probbase, answers, SHORT)
    prematurity = result.causes.index("Prematurity")
    assert result.probabilities[:, prematurity].max() == 0
    assert result.csmf_draws[:, prematurity].max() == 0


def test_insilicova_keeps_the_order_of_the_grades(tmp_path: Path, probbase: Probbase) -> None:
    answers = answers_of(tmp_path, synthetic_batch(NEONATE, 60), probbase, "neonate")
    grades = insilicova.assign_causes(probbase, answers, SHORT).grade_draws
    assert (np.diff(grades, axis=1) <= 0).all()
    assert grades.min() >= insilicova.LOWEST
    assert grades.max() <= insilicova.HIGHEST


def test_insilicova_repeats_itself_with_the_same_seed_alone(tmp_path: Path, probbase: Probbase) -> None:
    answers = answers_of(tmp_path, synthetic_batch(NEONATE, 40), probbase, "neonate")
    told: list[float] = []
    one, same, other = (
        insilicova.assign_causes(probbase, answers, InSilicoSettings(200, 100, 5, seed), progress=told.append)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.csmf_draws, same.csmf_draws)
    assert (one.csmf_draws != other.csmf_draws).any()
    assert told
    assert max(told) < 1


def test_deaths_by_injury_alone_need_no_sampling(tmp_path: Path, probbase: Probbase) -> None:
    answers = answers_of(tmp_path, synthetic_batch({"injury": 1.0}, 12, age_group="child"), probbase, "child")
    answers = answers[consistent_answers(probbase, answers)[:, probbase.row_of["i077o"]] == 1]
    result = insilicova.assign_causes(probbase, answers, SHORT)
    assert set(result.top_causes) <= {"Road traffic accident", "Accid fall"}
    np.testing.assert_allclose(result.csmf_draws.sum(axis=1), 1)


# -- EAVA --------------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_is_true_names_the_cause() -> None:
    rules = eava.checked_rules(
        RulesFile(
            "example",
            "neonate",
            [
                CauseRule("Tetanus", "age > 2 and age < 27 and i219o == y"),
                CauseRule("Sepsis", "fever and not i294o == n"),
                CauseRule("Other", "i294o != n or fever"),
            ],
            {"fever": "i147o == y"},
        )
    )
    answers = {
        "age": np.array([3.0, np.nan, 30.0, 3.0]),
        "i219o": np.array([1, 1, 1, -1]),
        "i147o": np.array([0, 0, 1, -1]),
        "i294o": np.array([0, 0, 1, -1]),
    }
    assert set(rules.indicators) == set(answers)
    assert eava.assign_causes(rules, answers, 4) == ["Tetanus", "Unspecified", "Sepsis", "Unspecified"]


def test_what_was_not_asked_is_neither_true_nor_false() -> None:
    """Kleene's tables: unknown or true is true, unknown and false is false, not unknown is unknown."""
    a = np.repeat([1, 0, -1], 3)
    b = np.tile([1, 0, -1], 3)
    expected = {
        "i101o == y and i102o == y": "TFUFFFUFU",
        "i101o == y or i102o == y": "TTTTFUTUU",
        "not i101o == y": "FFFTTTUUU",
        "i101o == n": "FFFTTTUUU",
        "i101o != y": "FFFTTTUUU",
    }
    letter = {1: "T", -1: "F", 0: "U"}
    for text, table in expected.items():
        rules = eava.checked_rules(RulesFile("x", "child", [CauseRule("Yes", text)]))
        values = eava._value(rules.causes[0][1], {}, {"i101o": a, "i102o": b}, 9)
        assert "".join(letter[value] for value in values.tolist()) == table, text


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        ("fever and missing", "uses 'missing', which is no term before it"),
        ("i147o == maybe", "cannot be read"),
        ("__import__('os')", "cannot be read"),
        ("i147o == y and", "cannot be read"),
        ("age > '3'", "cannot be read"),
        ("i147o > y", "cannot be read"),
        ("1 < age < 3", "cannot be read"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(when: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        eava.checked_rules(RulesFile("x", "child", [CauseRule("Yes", when)], {"fever": "i147o == y"}))


def test_the_synthetic_rules_agree_with_what_the_answers_speak_for(
    tmp_path: Path, reference: Path, probbase: Probbase
) -> None:
    rules = eava.read_rules(check_reference(reference / "eava_child_synthetic.yaml"))
    assert rules.is_synthetic
    batch = synthetic_batch(CHILD, 100, age_group="child")
    answers = answers_of(tmp_path, batch, probbase, "child")
    columns = {name: answers[:, probbase.row_of[name]] for name in rules.indicators}
    causes = eava.assign_causes(rules, columns, len(answers))
    found = assign_broad_causes(causes, "child")
    assert (found.of_death == batch.said_causes)[found.of_death >= 0].mean() > 0.97
    assert found.unspecified < 10


def test_an_age_that_is_no_number_is_refused_by_its_line() -> None:
    assert np.isnan(eava.ages_in_days([".", "7"], [2, 3])).tolist() == [True, False]
    with pytest.raises(InputError, match="line 3: an age that is no number of days") as refused:
        eava.ages_in_days(["7", "seven"], [2, 3])
    assert "seven" not in str(refused.value)


def test_sample_causes_are_the_published_ones(shared_data: Path) -> None:
    with (shared_data / "verbal_autopsy" / "sample_interva_neonate.csv").open() as file:
        causes = [row["cause"] for row in csv.DictReader(file)]
    assert assign_broad_causes(causes, "neonate").counts.tolist() == [42, 82, 267, 288, 16, 495]
