"""INFO becomes typed JSON: numbers as numbers, lists by allele, nothing dropped, NaN never stored."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcf_text import Loaded, load, record, vcf_bytes

from genomics_assets.variants.info import finite_float, json_float, json_integer, json_string, value_of_allele


def info_of(folder: Path, text: str, alt: str = "G") -> tuple[list[dict[str, Any]], dict[str, int]]:
    loaded = load(folder, [record(info=text, alt=alt)])
    rows = [{key: value for key, value in row.items() if key != "_orig"} for row in loaded.info]
    return rows, loaded.tally.noted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".", {}),
        ("DB", {"DB": True}),
        ("DP=7;MQ=1e-3", {"DP": 7, "MQ": 0.001}),
        ("DP=+07;MQ=.5", {"DP": 7, "MQ": 0.5}),
        ("MQ=1.", {"MQ": 1.0}),
        ("MQ=NaN;DP=.;TAG=.", {"MQ": None, "DP": None, "TAG": None}),
        ("MQ=-Inf;AF=nan", {"MQ": None, "AF": None}),
        ("DP=;TAG=;LIST=", {"DP": None, "TAG": None, "LIST": None}),
        ("TAG=a,b%2C;LIST=a,.,b", {"TAG": "a,b%2C", "LIST": ["a", None, "b"]}),
        ('TAG=say "x\\y"', {"TAG": 'say "x\\y"'}),
        ("DB=1", {"DB": "1"}),
        ("TAG", {"TAG": True}),
        ("AC=.;AD=.;GL=.", {"AC": None, "AD": None, "GL": None}),
        (";;DP=1;.;", {"DP": 1}),
        ("TAG=a=b", {"TAG": "a=b"}),
    ],
)
def test_values_by_their_declared_type(tmp_path: Path, text: str, value: dict[str, Any]) -> None:
    rows, noted = info_of(tmp_path, text)
    assert rows == [value]
    assert not noted


def test_lists_are_shared_out_among_the_alleles(tmp_path: Path) -> None:
    rows, noted = info_of(tmp_path, "AC=1,2;AD=9,8,7;GL=0,1,2,3,4,5;PAIR=5,6", alt="G,T")
    assert rows == [
        {"AC": 1, "AD": [9, 8], "GL": [0, 1, 2], "PAIR": [5, 6]},
        {"AC": 2, "AD": [9, 7], "GL": [0, 3, 5], "PAIR": [5, 6]},
    ]
    assert not noted


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("AC=1,2", {"AC": [1, 2]}, "info_wrong_count"),
        ("AD=1", {"AD": [1]}, "info_wrong_count"),
        ("GL=1,2", {"GL": [1, 2]}, "info_wrong_count"),
        ("DP=seven", {"DP": "seven"}, "info_wrong_type"),
        ("DP=1.5", {"DP": "1.5"}, "info_wrong_type"),
        ("DP=1,2", {"DP": "1,2"}, "info_wrong_type"),
        ("AD=1,x", {"AD": [1, "x"]}, "info_wrong_type"),
        ("MQ=0x1F", {"MQ": "0x1F"}, "info_wrong_type"),
        ("MQ=1_000", {"MQ": "1_000"}, "info_wrong_type"),
        # PostgreSQL's numeric could not hold it.
        ("MQ=1e200000", {"MQ": "1e200000"}, "info_wrong_type"),
        (f"DP={'9' * 500}", {"DP": "9" * 500}, "info_wrong_type"),
        ("NEW=1,2", {"NEW": "1,2"}, "undeclared_info"),
        ("NEW", {"NEW": True}, "undeclared_info"),
        ("DP=1;DP=2", {"DP": 1}, "info_repeated_key"),
    ],
)
def test_what_breaks_its_declaration_is_kept_and_counted(
    tmp_path: Path, text: str, value: dict[str, Any], reason: str
) -> None:
    rows, noted = info_of(tmp_path, text)
    assert rows == [value]
    assert noted == {reason: 1}


def test_numbers_are_copied_as_written(tmp_path: Path) -> None:
    loaded = load(tmp_path, [record(info="MQ=0.100;AF=1E-05;DP=-0")])
    assert loaded.column("info") == ['{"MQ":0.100,"AF":1E-05,"DP":-0}']


def test_latin_1_is_read_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "file.vcf"
    text = vcf_bytes([record(info="TAG=Zoë;LIST=a,b"), record(info="TAG=Zoë", pos=7)])
    path.write_bytes(text.replace("Zoë;".encode(), b"Zo\xeb;"))
    loaded = Loaded(path)
    assert loaded.info[0]["TAG"] == "Zoë"
    assert loaded.info[1]["TAG"] == "Zoë"
    assert loaded.tally.noted == {"not_utf8": 1}


@given(st.text())
def test_every_string_survives_json(text: str) -> None:
    assert json.loads(json_string(text)) == text


@given(
    st.one_of(
        st.floats().map(repr),
        st.from_regex(r"[+-]?[0-9]{0,3}\.?[0-9]{0,3}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    )
)
def test_floats_become_json_that_means_the_same(text: str) -> None:
    written = json_float(text)
    try:
        expected = float(text)
    except ValueError:
        assert written is None
        return
    assert written is not None
    if written == "null":
        assert not math.isfinite(expected)
        return
    assert json.loads(written) == expected or math.isinf(expected)
    assert "nan" not in written.lower()


@given(st.integers())
def test_integers_become_json_that_means_the_same(number: int) -> None:
    assert json.loads(json_integer(str(number)) or "") == number
    assert json.loads(json_integer(f"{number:+05d}") or "") == number


def test_a_value_for_each_allele_or_one_for_all() -> None:
    assert value_of_allele("1,2", 1, 2) == "2"
    assert value_of_allele("1", 1, 2) == "1"
    assert value_of_allele("1,2,3", 1, 2) is None
    assert value_of_allele(None, 0, 1) is None


@pytest.mark.parametrize("text", [".", "", "nan", "inf", "1e39", "3.5e38", "x", "1_0", "٣"])
def test_what_is_no_finite_single_precision_number(text: str) -> None:
    assert finite_float(text) is None
