"""A batch is read whole, or refused with a sentence that names no person."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.probbase import Probbase
from genomics_assets.verbal_autopsy.submission import (
    SymptomRecords,
    describe_rejects,
    form_of,
    read_causes,
    read_symptoms,
    read_table,
    reject_counts,
)
from genomics_assets.verbal_autopsy.synthetic_reference import indicators, synthetic_batch

EVEN = {"pneumonia": 0.25, "ipre": 0.25, "prematurity": 0.5}
SECRET = "Jane-Doe-1984"


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def text_of(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.fixture
def rows() -> list[list[str]]:
    return rows_of(synthetic_batch(EVEN, 12, seed=3).csv)


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "batch.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    tmp_path: Path, content: str | bytes, probbase: Probbase, age_group: str = "neonate"
) -> SymptomRecords:
    return read_symptoms(read_table(write(tmp_path, content)), probbase.indicators, age_group)


def test_answers_are_read_in_the_order_of_the_probbase(
    tmp_path: Path, rows: list[list[str]], probbase: Probbase
) -> None:
    order = [0, *reversed(range(1, len(rows[0])))]
    shuffled = [[row[place] for place in order] for row in rows]
    records = read(tmp_path, text_of(shuffled), probbase)
    code = {"y": 1, "n": 0, ".": -1}
    expected = [[code[row[rows[0].index(name)]] for name in probbase.indicators] for row in rows[1:]]
    assert records.answers.tolist() == expected
    assert records.ids == [row[0] for row in rows[1:]]
    assert not records.rejects
    assert records.unused_columns == ("age",)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace("made-up-00001", "b\xe9b\xe9").encode("cp1252"),
    ],
)
def test_every_usual_encoding_gives_the_same_answers(
    tmp_path: Path, rows, probbase: Probbase, encode
) -> None:  # type: ignore[no-untyped-def]
    plain = read(tmp_path, text_of(rows), probbase)
    other = read(tmp_path, encode(text_of(rows)), probbase)
    np.testing.assert_array_equal(other.answers, plain.answers)


def test_upper_case_dash_and_blank_are_answers(
    tmp_path: Path, rows: list[list[str]], probbase: Probbase
) -> None:
    plain = read(tmp_path, text_of(rows), probbase)
    for place, old, new in ((3, "y", "Y"), (4, "n", " n "), (5, ".", "-"), (6, ".", "")):
        rows[place] = [new if cell == old else cell for cell in rows[place]]
    np.testing.assert_array_equal(read(tmp_path, text_of(rows), probbase).answers, plain.answers)


def test_a_symptom_that_is_no_answer_rejects_its_record_alone(
    tmp_path: Path, rows: list[list[str]], probbase: Probbase
) -> None:
    rows[4][rows[0].index("i125o")] = SECRET
    rows[7] = rows[7][:-1]
    rows[9][0] = ""
    records = read(tmp_path, text_of(rows), probbase)
    assert len(records.ids) == 9
    told = {reason: (count, lines) for reason, count, _, lines in describe_rejects(records.rejects)}
    assert told == {
        "unknown_symptom_cell": (1, "5 (i125o)"),
        "wrong_number_of_cells": (1, "8"),
        "blank_id": (1, "10"),
    }
    assert SECRET not in str(records.rejects)


def test_numbers_for_answers_are_refused_with_a_hint(tmp_path: Path, rows, probbase: Probbase) -> None:  # type: ignore[no-untyped-def]
    coded = text_of([rows[0], *([row[0], *("1" if c == "y" else "0" for c in row[1:])] for row in rows[1:])])
    with pytest.raises(
        InputError, match=r"none of 12 records can be taken \(12 unknown_symptom_cell\).*y, n or \."
    ):
        read(tmp_path, coded, probbase)


def test_a_missing_id_column_is_refused(tmp_path: Path, rows, probbase: Probbase) -> None:  # type: ignore[no-untyped-def]
    rows[0][0] = "name"
    with pytest.raises(InputError, match="no column ID"):
        read(tmp_path, text_of(rows), probbase)


def test_repeated_ids_are_refused_with_counts_and_lines_but_not_told(
    tmp_path: Path, rows, probbase: Probbase
) -> None:  # type: ignore[no-untyped-def]
    rows[2][0] = rows[5][0] = rows[6][0] = SECRET
    with pytest.raises(InputError) as refused:
        read(tmp_path, text_of(rows), probbase)
    assert "1 IDs are there more than once, in 3 records (lines 3, 6, 7)" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_missing_indicators_are_named(tmp_path: Path, rows, probbase: Probbase) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="3 of 83 indicators have no column: i188o, i189o, i999s"):
        read(tmp_path, text_of([row[:-4] + row[-1:] for row in rows]), probbase)


def test_the_wrong_age_group_is_refused(tmp_path: Path, rows, probbase: Probbase) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        InputError, match=r"age_group is child, and 12 of 12 records.*12 neonate.*age_group: neonate"
    ):
        read(tmp_path, text_of(rows), probbase, "child")


def test_a_few_records_of_another_age_group_are_rejected(tmp_path: Path, rows, probbase: Probbase) -> None:  # type: ignore[no-untyped-def]
    newborn, infant = rows[0].index("i022g"), rows[0].index("i022f")
    rows[1][newborn], rows[1][infant] = "n", "y"
    records = read(tmp_path, text_of(rows), probbase)
    assert reject_counts(records.rejects) == {"other_age_group": 1}
    assert [reject.line for reject in records.rejects] == [2]
    assert len(records.ids) == len(records.answers) == 11


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"\xff\xfe"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"batch\.csv: the file is empty"):
        read_table(write(tmp_path, content))


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it holds no records"):
        read_table(write(tmp_path, "ID,cause\n"))


def test_ten_megabytes_in_one_cell_are_refused_by_line(tmp_path: Path) -> None:
    text = "ID,cause\na,Malaria\nb," + "x" * 10_000_000 + "\n"
    with pytest.raises(InputError, match="line 3: a cell of more than 131,072 characters"):
        read_table(write(tmp_path, text))


def test_a_quote_that_never_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: a quoted cell does not end properly"):
        read_table(write(tmp_path, 'ID,cause\na,"Malaria\nb,Stroke\n'))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        read_table(write(tmp_path, b"ID,cause\n\x81\x8d\x8f\0"))


def test_the_form_is_told_by_the_columns(tmp_path: Path, rows: list[list[str]]) -> None:
    assert form_of(read_table(write(tmp_path, text_of(rows)))) == "symptoms"
    assert form_of(read_table(write(tmp_path, "ID,Cause1\na,Malaria\n"))) == "causes"
    assert form_of(read_table(write(tmp_path, "KEY,consent-info-Id10019\na,male\n"))) == "odk"
    assert len(rows[0]) == len(indicators()) + 2


def test_causes_of_two_algorithms_are_told_apart(tmp_path: Path) -> None:
    text = "ID,cause1,algorithm\na,Malaria,interva\na,Measles,eava\nb,,eava\nb,Malaria,INTERVA\n"
    found = read_causes(read_table(write(tmp_path, text)), ["InterVA", "EAVA"])
    assert found.by_algorithm == {
        "InterVA": (["a", "b"], ["Malaria", "Malaria"]),
        "EAVA": (["a"], ["Measles"]),
    }
    assert reject_counts(found.rejects) == {"no_cause": 1}


@pytest.mark.parametrize(
    ("text", "algorithms", "sentence"),
    [
        ("ID,cause\na,Malaria\na,Measles\n", ["EAVA"], "1 IDs are there more than once"),
        ("ID,cause,algorithm\na,x,eava\na,y,eava\n", ["EAVA"], "1 IDs are there more than once"),
        ("ID,cause\na,Malaria\n", ["EAVA", "InterVA"], "does not say which one a cause is from"),
        ("ID,cause,algorithm\na,Malaria,eava\n", ["EAVA", "InterVA"], "no record has a cause by InterVA"),
        ("ID,cause,algorithm\na,Malaria,tariff\n", ["EAVA"], "line 2: the column algorithm names one"),
        ("ID,what\na,Malaria\n", ["EAVA"], "no column cause"),
        ("ID,cause,cause\na,b,c\n", ["EAVA"], "columns are there twice: cause"),
        ("ID,cause\n" + "a" * 300 + ",Malaria\n", ["EAVA"], "an ID of 300 characters"),
    ],
)
def test_causes_that_cannot_be_told_are_refused(
    tmp_path: Path, text: str, algorithms: list[str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_causes(read_table(write(tmp_path, text)), algorithms)
