"""Raw answers become the symptom matrix by the mapping table, whatever groups ODK puts before a question."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.crossva import convert, parse_mapping, read_mapping
from genomics_assets.verbal_autopsy.probbase import Probbase
from genomics_assets.verbal_autopsy.reference_file import find_reference
from genomics_assets.verbal_autopsy.submission import form_of, odk_ids, read_symptoms, read_table
from genomics_assets.verbal_autopsy.synthetic_reference import synthetic_batch

HEAD = (
    "New Column Name,New Column Documentation,Source Column ID,Source Column Documentation,"
    "Relationship,Condition,Prerequisite\n"
)


def table_of(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "odk.csv"
    path.write_text(text)
    return read_table(path)


@pytest.mark.parametrize(
    ("relationship", "condition", "cells", "expected"),
    [
        ("eq", "yes", ["yes", "YES", "no", "", "dk", "ref"], [1, 1, 0, -1, -1, -1]),
        ("ne", "yes", ["yes", "no", "dk"], [0, 1, -1]),
        ("lt", "14", ["13", "14", "13.9", "dk"], [1, 0, 1, -1]),
        ("le", "14", ["14", "15"], [1, 0]),
        ("gt", "3", ["3", "4", "x"], [0, 1, -1]),
        ("ge", "3", ["3", "2.5"], [1, 0]),
        ("between", "15 to 49", ["15", "49", "50", "14"], [1, 1, 0, 0]),
        ("contains", "rash", ["fever rash", "fever", ""], [1, 0, -1]),
        ("eq", "7", ["7.0", "8"], [1, 0]),
    ],
)
def test_each_relationship(
    tmp_path: Path, relationship: str, condition: str, cells: list[str], expected: list[int]
) -> None:
    mapping = parse_mapping(f"{HEAD}i125o,,Id10125,,{relationship},{condition},\n")
    table = table_of(tmp_path, "KEY,a-b-Id10125\n" + "".join(f"k{n},{c}\n" for n, c in enumerate(cells)))
    assert convert(mapping, table, ["i125o"]).answers[:, 0].tolist() == expected


def test_one_of_several_conditions_is_enough_and_prerequisites_come_first(tmp_path: Path) -> None:
    mapping = parse_mapping(
        HEAD
        + "i079o,,Id10079,,eq,yes,i077o\n"
        + "i077o,,Id10077,,eq,yes,\n"
        + "i077o,,Id10076,,eq,yes,\n"
        + "i083o,,Id10083,,eq,yes,\n"
    )
    table = table_of(
        tmp_path, "ID,Id10076,Id10077,Id10079\na,no,yes,yes\nb,yes,no,no\nc,no,no,yes\nd,dk,dk,yes\n"
    )
    found = convert(mapping, table, ["i077o", "i079o", "i083o", "i101o"])
    assert found.answers.tolist() == [[1, 1, -1, -1], [1, 0, -1, -1], [0, 0, -1, -1], [-1, 0, -1, -1]]
    assert found.absent_questions == ("id10083",)
    assert found.unmapped == ("i101o",)


def test_an_export_of_another_questionnaire_is_refused(tmp_path: Path) -> None:
    mapping = parse_mapping(
        f"{HEAD}i125o,,Id10125,,eq,yes,\ni126o,,Id10126,,eq,yes,\ni127o,,Id10127,,eq,yes,\n"
    )
    table = table_of(tmp_path, "KEY,Id10125,Id10999\na,yes,yes\n")
    with pytest.raises(InputError, match="2 of the 3 questions of the mapping table are not in the export"):
        convert(mapping, table, ["i125o"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "it has no column"),
        (HEAD, "it holds no conditions"),
        (HEAD + "i1o,,Id1,,like,yes,\n", "line 2: relationship 'like' is none of"),
        (HEAD + "i1o,,Id1,,lt,young,\n", "line 2: the condition of lt is no number"),
        (HEAD + "i1o,,Id1,,between,3,\n", "line 2: the condition of between is no number"),
        (HEAD + "i1o,,Id1,,eq,yes,i2o\n", "line 2: prerequisite 'i2o' is no indicator"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_mapping(text)


def test_a_raw_export_gives_the_same_matrix(tmp_path: Path, reference: Path, probbase: Probbase) -> None:
    """The answers of a batch, asked in the words of the questionnaire."""
    batch = table_of(tmp_path, synthetic_batch({"malaria": 0.5, "injury": 0.5}, 20, age_group="child").csv)
    expected = read_symptoms(batch, probbase.indicators, "child").answers
    word = {"y": "yes", "n": "no", ".": "dk"}
    plain = [name for name in probbase.indicators if not name.startswith(("i019", "i022"))]
    lines = [
        ",".join(["meta-instanceID", "grp-Id10019", "grp-Id10022", *(f"grp-Id10{n[1:4]}" for n in plain)])
    ]
    for row in batch.rows:
        cell = dict(zip(batch.columns, row, strict=True))
        days = "400" if cell["i022e"] == "y" else "100"
        sex = "male" if cell["i019a"] == "y" else "female"
        lines.append(",".join([cell["id"], sex, days, *(word[cell[name]] for name in plain)]))
    table = table_of(tmp_path, "\n".join(lines) + "\n")
    assert form_of(table) == "odk"
    assert odk_ids(table)[0] == "made-up-00001"
    found = convert(read_mapping(find_reference(reference, "crossva")), table, probbase.indicators).answers
    asked = [row for row, name in enumerate(probbase.indicators) if not name.startswith("i022")]
    follow_up = [probbase.row_of[name] for name in ("i079o", "i083o")]
    same = [row for row in asked if row not in follow_up]
    np.testing.assert_array_equal(found[:, same], expected[:, same])
    np.testing.assert_array_equal(found[:, follow_up] == 1, expected[:, follow_up] == 1)
    newborn = [probbase.row_of["i022e"], probbase.row_of["i022f"]]
    np.testing.assert_array_equal(found[:, newborn] == 1, expected[:, newborn] == 1)
