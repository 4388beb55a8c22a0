from __future__ import annotations

import json
from pathlib import Path

import pytest

from genomics_assets.input_error import InputError
from genomics_assets.variants.pedigree import (
    KnownSample,
    PedigreeEntry,
    SampleConflict,
    merge,
    parse_pedigree,
    read_pedigree,
)

TRIO = """#family\tindividual\tfather\tmother\tsex\tphenotype
FAM1\tmother\t0\t0\t2\t1
FAM1\tfather\t0\t0\t1\t1

FAM1\tdaughter\tfather\tmother\t2\t2
"""


def test_a_trio_keeps_family_sex_phenotype_and_parents() -> None:
    mother, father, daughter = parse_pedigree(TRIO)
    assert mother == PedigreeEntry("mother", "FAM1", 2, 1, {})
    assert father == PedigreeEntry("father", "FAM1", 1, 1, {})
    assert daughter == PedigreeEntry("daughter", "FAM1", 2, 2, {"father": "father", "mother": "mother"})


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_blanks_and_windows_line_ends_make_no_difference(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "trio.ped"
    path.write_bytes(TRIO.replace("\t", "  ").replace("\n", ends).encode("utf-8-sig"))
    assert read_pedigree(path) == parse_pedigree(TRIO)


def test_tab_separated_names_may_hold_blanks_and_cells_may_be_empty() -> None:
    assert parse_pedigree("F 1\tS 1\t\t\t1\t\n") == [PedigreeEntry("S 1", "F 1", 1)]


def test_a_title_line_without_a_hash_is_not_a_person() -> None:
    assert [e.individual_id for e in parse_pedigree("FID IID PAT MAT SEX PHENO\nF S1 0 0 1 2")] == ["S1"]


@pytest.mark.parametrize(
    ("written", "sex"),
    [("1", 1), ("2", 2), ("male", 1), ("F", 2), ("0", 0), ("3", 0), ("unknown", 0), ("-9", 0)],
)
def test_sex_is_male_female_or_unknown(written: str, sex: int) -> None:
    assert parse_pedigree(f"F S1 0 0 {written} 0")[0].sex == sex


@pytest.mark.parametrize(
    ("written", "phenotype", "in_metadata"),
    [
        ("0", None, {}),
        ("-9", None, {}),
        ("NA", None, {}),
        ("1", 1, {}),
        ("2.0", 2, {}),
        ("172", 172, {}),
        ("-400", -400, {}),
        ("172.5", None, {"phenotype": 172.5}),
        ("40000", None, {"phenotype": 40000}),
        ("affected", None, {"phenotype": "affected"}),
        ("1e999", None, {"phenotype": "1e999"}),
        ("1_0", None, {"phenotype": "1_0"}),
        ("9007199254740993", None, {"phenotype": "9007199254740993"}),
    ],
)
def test_phenotypes_that_no_smallint_holds_go_to_the_metadata(
    written: str, phenotype: int | None, in_metadata: dict[str, object]
) -> None:
    entry = parse_pedigree(f"F S1 0 0 1 {written}")[0]
    assert (entry.phenotype, entry.metadata) == (phenotype, in_metadata)
    json.dumps(entry.metadata, allow_nan=False)


def test_zero_is_a_value_in_a_quantitative_column_and_unknown_among_cases_and_controls() -> None:
    quantitative = parse_pedigree("F S1 0 0 1 0\nF S2 0 0 1 3.5\nF S3 0 0 1 -9")
    assert [e.metadata for e in quantitative] == [{"phenotype": 0}, {"phenotype": 3.5}, {}]
    case_control = parse_pedigree("F S1 0 0 1 0\nF S2 0 0 1 2")
    assert [(e.phenotype, e.metadata) for e in case_control] == [(None, {}), (2, {})]


def test_family_zero_is_no_family() -> None:
    assert parse_pedigree("0 S1 0 0 1 1")[0].family_id is None


def test_columns_after_the_sixth_are_not_read() -> None:
    assert parse_pedigree("F S1 0 0 1 1 A A G T")[0] == PedigreeEntry("S1", "F", 1, 1)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("#c\nF S1 0 0 1 1\n\nF S2 0 0 1\n", 4, "5 blank-separated columns where 6 are needed"),
        ("F S1 0 0 1\n", 1, "5 blank-separated columns where 6 are needed"),
        ("F\tS1\t0\t0\t1\t1\nF\tS 2\t0\t0\t1\n", 2, "5 tab-separated columns where 6 are needed"),
        ("F S1 0 0 1 1 A\nF S2 0 0 1 1\n", 2, "6 blank-separated columns where the first line has 7"),
        ("F S1 0 0 1 1\nF S2 0 0 1 1 note\n", 2, "7 blank-separated columns where 6 are needed"),
        (
            "F S1 0 0 1 1\n# c\nG S1 0 0 2 1\n",
            3,
            "an individual is here for the second time, first on line 1",
        ),
        ("F 0 0 0 1 1\n", 1, "without a name"),
        (f"F {'S' * 256} 0 0 1 1\n", 1, "individual name of 256 characters, 255 are the limit"),
        (f"{'F' * 101} S1 0 0 1 1\n", 1, "family name of 101 characters, 100 are the limit"),
        ("F S\0 0 0 1 1\n", 1, "NUL"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = tmp_path / "bad.ped"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_pedigree(path)
    assert (caught.value.file, caught.value.line) == ("bad.ped", line)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.ped"
    path.write_bytes(b"F S1 0 0 1 1\nF Ren\xe9 0 0 1 1\n")
    with pytest.raises(InputError, match=r"latin\.ped, line 2: not UTF-8"):
        read_pedigree(path)


def test_new_samples_are_inserted_with_all_that_is_told() -> None:
    merged = merge([], [PedigreeEntry("S1", "F1", 2, 2, {"father": "S3"}), PedigreeEntry.of_name("S2")])
    assert merged.to_insert == [
        KnownSample("S1", "F1", 2, 2, {"father": "S3"}),
        KnownSample("S2", None, 0, None, {}),
    ]
    assert not merged.to_fill
    assert not merged.conflicts


@pytest.mark.parametrize("unknown", [KnownSample("S1"), KnownSample("S1", "", 0, 0, {"cohort": "A"})])
def test_what_is_unknown_is_filled(unknown: KnownSample) -> None:
    merged = merge([unknown], [PedigreeEntry("S1", "F1", 2, 2, {"father": "S3"})])
    expected = {**(unknown.metadata or {}), "father": "S3"}
    assert merged == ([], [KnownSample("S1", "F1", 2, 2, expected)], [])


def test_what_is_known_stays_and_each_contradiction_is_reported() -> None:
    known = KnownSample("S1", "F1", 1, 2, {"father": "S3"})
    merged = merge([known], [PedigreeEntry("S1", "F2", 2, 1, {"father": "S4"})])
    assert merged == (
        [],
        [],
        [
            SampleConflict("S1", "father", "S3", "S4"),
            SampleConflict("S1", "family_id", "F1", "F2"),
            SampleConflict("S1", "sex", 1, 2),
            SampleConflict("S1", "phenotype", 2, 1),
        ],
    )


def test_a_contradiction_does_not_keep_the_rest_from_being_filled() -> None:
    merged = merge([KnownSample("S1", None, 1, 0, {})], [PedigreeEntry("S1", "F1", 2, 2)])
    assert merged.to_fill == [KnownSample("S1", "F1", 1, 2, {})]
    assert merged.conflicts == [SampleConflict("S1", "sex", 1, 2)]


def test_the_same_again_and_less_than_is_known_change_nothing() -> None:
    known = KnownSample("S1", "F1", 1, 2, {"father": "S3"})
    same = PedigreeEntry("S1", "F1", 1, 2, {"father": "S3"})
    assert merge([known], [same]) == ([], [], [])
    assert merge([known], [PedigreeEntry.of_name("S1")]) == ([], [], [])


def test_a_phenotype_in_the_metadata_is_the_same_fact_as_one_in_the_column() -> None:
    whole, measured = PedigreeEntry("S1", phenotype=2), PedigreeEntry("S1", metadata={"phenotype": 1.5})
    assert merge([KnownSample("S1", phenotype=2)], [measured]).conflicts == [
        SampleConflict("S1", "phenotype", 2, 1.5)
    ]
    assert merge([KnownSample("S1", metadata={"phenotype": 1.5})], [whole]).conflicts == [
        SampleConflict("S1", "phenotype", 1.5, 2)
    ]
    assert merge([KnownSample("S1")], [measured]).to_fill == [KnownSample("S1", metadata={"phenotype": 1.5})]
