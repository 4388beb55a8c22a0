"""The matrix file: what is read, in which order, to which bytes; and what each bad file is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomics_assets.bmd.expression_matrix import (
    MAX_SAMPLES,
    ExpressionMatrix,
    parse_expression_matrix,
    read_expression_matrix,
)
from genomics_assets.input_error import InputError

HEADER = "SampleID\ts1\ts2\ts3\ts4\ts5\ts6\n"
DOSES = "Dose\t0\t10\t0\t2.5\t10\t2.5\n"
PROBES = "A_1\t5\t9\t5.5\t6\t9.5\t6.5\nB_2\t1\t2\t3\t4\t5\t6\n"
GOOD = HEADER + DOSES + PROBES


def test_samples_are_sorted_by_dose_and_keep_their_order_within_one() -> None:
    matrix = parse_expression_matrix(GOOD)
    assert matrix.doses.tolist() == [0, 0, 2.5, 2.5, 10, 10]
    assert matrix.samples == ("s1", "s3", "s4", "s6", "s2", "s5")
    assert matrix.probes == ("A_1", "B_2")
    assert matrix.responses.tolist() == [[5, 5.5, 6, 6.5, 9, 9.5], [1, 3, 4, 6, 2, 5]]
    assert matrix.replicates == {0.0: 2, 2.5: 2, 10.0: 2}


def test_notes_blank_lines_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    noted = "a note without a tab\n\n" + HEADER + "\n# another\n" + DOSES + PROBES
    expected = parse_expression_matrix(GOOD).digest()
    for text in (noted, noted.replace("\n", "\r\n"), noted.replace("\n", "\r"), GOOD.replace("\n", "\t\n")):
        path = tmp_path / "m.txt"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_expression_matrix(path).digest() == expected


def test_without_sample_names_columns_are_numbered_as_in_the_file() -> None:
    assert parse_expression_matrix(DOSES + PROBES).samples == (
        "Column 0", "Column 2", "Column 3", "Column 5", "Column 1", "Column 4",
    )  # fmt: skip


def test_sample_names_that_are_numbers_are_names_when_that_is_said() -> None:
    text = "id\t101\t102\t103\t104\t105\t106\n" + DOSES + PROBES
    assert parse_expression_matrix(text, has_headers=True).samples[0] == "101"
    with pytest.raises(InputError, match="no dose has two samples"):
        parse_expression_matrix(text)


def test_matrix_bin_is_big_endian_float32_row_by_row() -> None:
    matrix = parse_expression_matrix(GOOD)
    data = matrix.to_bytes()
    assert struct.unpack(">12f", data) == (5, 5.5, 6, 6.5, 9, 9.5, 1, 3, 4, 6, 2, 5)
    again = ExpressionMatrix.from_bytes(
        data, samples=matrix.samples, doses=matrix.doses.tolist(), probes=matrix.probes
    )
    assert again.digest() == matrix.digest()
    with pytest.raises(ValueError, match="44 bytes"):
        ExpressionMatrix.from_bytes(
            data[:-4], samples=matrix.samples, doses=matrix.doses.tolist(), probes=matrix.probes
        )


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_becomes_the_nearest_float32(number: float) -> None:
    text = HEADER + DOSES + f"A\t{number!r}\t1\t1\t1\t1\t1\n"
    assert parse_expression_matrix(text).responses[0, 0] == np.float32(number)


def test_a_decimal_is_rounded_once() -> None:
    # By way of a double this decimal, just above the middle of two float32, would be rounded down.
    decimal = "1.00000005960464485"
    text = HEADER + DOSES + f"A\t{decimal}\t1\t1\t1\t1\t1\n"
    assert float(np.float32(float(decimal))) == 1.0
    assert float(parse_expression_matrix(text).responses[0, 0]) == float(
        np.nextafter(np.float32(1), np.float32(2))
    )


BAD = {
    "an empty file": ("", "the file is empty", None),
    "only notes": ("a\nb\n", "no line of the file has a tab", None),
    "only sample names": (HEADER, "no line of doses", None),
    "no probes": (HEADER + DOSES, "no probe follows", None),
    "a cell that is no number": (GOOD.replace("5.5", "5,5"), "column 4: the response is '5,5', not a number", 3),
    "an empty cell": (GOOD.replace("5.5", ""), "column 4: the response is empty", 3),
    "a dose that is no number": (GOOD.replace("2.5", "low", 1), "column 5: the dose is 'low', not a number", 2),
    "a ragged row": (GOOD + "C\t1\t2\n", "2 values where the line of doses has 6", 5),
    "a long row": (GOOD + "C\t1\t2\t3\t4\t5\t6\t7\n", "7 values where the line of doses has 6", 5),
    "no line of doses": (HEADER + PROBES, "no dose has two samples.*Remedy: .*line of doses", 2),
    "two doses": (GOOD.replace("2.5", "10"), "2 different doses, 3 are needed", 2),
    "one sample a dose": (GOOD.replace("0\t10\t0\t2.5\t10\t2.5", "0\t1\t2\t3\t4\t5"), "no dose has two samples", 2),
    "a negative dose": (GOOD.replace("0\t10\t0", "0\t-10\t0"), "column 3: the dose is negative", 2),
    "a probe twice": (GOOD + "A_1\t1\t2\t3\t4\t5\t6\n", "probe 'A_1' is also on line 3", 5),
    "a probe without a name": (GOOD + "\t1\t2\t3\t4\t5\t6\n", "column 1: the probe id is empty", 5),
    "a sample twice": (GOOD.replace("s3", "s1"), "columns 2 and 4 name the same sample", 1),
    "not a number": (GOOD.replace("5.5", "NaN"), "column 4: the response is not a finite number", 3),
    "infinity": (GOOD.replace("5.5", "-Infinity"), "column 4: the response is not a finite number", 3),
    "beyond float32": (GOOD.replace("5.5", "1e39"), "column 4: the response is not a finite number", 3),
    "an infinite dose": (GOOD.replace("2.5", "inf", 1), "column 5: the dose is not a finite number", 2),
    "100,000 columns": (
        "id" + "".join(f"\tp{i}" for i in range(100_000)) + "\n" + "d" + "\t0" * 100_000 + "\n",
        f"100,000 samples, {MAX_SAMPLES:,} are the limit. Remedy: turn the table", 1,
    ),
    "a name with a NUL": (GOOD.replace("B_2", "B\0"), "NUL", 4),
    "a name that is too long": (GOOD.replace("B_2", "B" * 300), "300 characters", 4),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_matrix_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, problem, line = BAD[case]
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as refused:
        read_expression_matrix(path)
    assert (refused.value.file, refused.value.line) == ("bad.txt", line)


def test_sample_names_stay_out_of_errors(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(GOOD.replace("s1", "patient-7").replace("s3", "patient-7"))
    with pytest.raises(InputError) as refused:
        read_expression_matrix(path)
    assert "patient" not in str(refused.value)


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(GOOD.encode() + "µ\t1\t2\t3\t4\t5\t6\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"bad.txt, line 5: not UTF-8"):
        read_expression_matrix(path)


def test_the_real_matrix(shared_data: Path) -> None:
    matrix = read_expression_matrix(shared_data / "bmd" / "heparg_s1500_example_1.txt")
    assert matrix.responses.shape == (2977, 30)
    assert list(matrix.replicates.values()) == [12, 3, 3, 3, 3, 3, 3]
    assert matrix.probes[0] == "ABCC5_26"
