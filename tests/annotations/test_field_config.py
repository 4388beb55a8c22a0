"""What a `fields.json` may say, and that nothing else becomes SQL."""

from __future__ import annotations

import json

import pytest

from genomics_assets.annotations.field_config import (
    SEED_COLUMNS,
    check_source_name,
    parse_fields,
    ready_made,
    resolve,
)
from genomics_assets.input_error import InputError

DECLARED = {
    "AF": ("A", "Float", "Frequency"),
    "AC": ("A", "Integer", ""),
    "SIG": (".", "String", ""),
    "GL": ("G", "Float", ""),
    "DB": ("0", "Flag", ""),
}


def fields(*entries: object) -> str:
    return json.dumps(entries)


def test_echtvars_own_configuration_is_understood() -> None:
    text = """[{"field": "AC", "alias": "gnomad_AC", "missing_value": -1},
              {"field": "AF", "alias": "gnomad_AF", "multiplier": 2000000},
              {"field": "FILTER", "alias": "flt", "missing_string": "PASS", "description": "filters"}]"""
    found = resolve(parse_fields(text), DECLARED)
    assert [(f.alias, f.type, f.origin, f.missing) for f in found] == [
        ("gnomad_ac", "integer", "info", -1),
        ("gnomad_af", "real", "info", None),
        ("flt", "text", "filter", "PASS"),
    ]


def test_a_field_fills_the_column_of_its_name_or_the_one_that_it_names() -> None:
    found = parse_fields(
        fields({"field": "AF", "alias": "af_gnomad"}, {"field": "AC", "alias": "x", "fills": "rs_id"})
    )
    assert [f.fills for f in found] == ["af_gnomad", "rs_id"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ('[{"field": "AF",]', "not JSON"),
        ("[{}\n,,]", "line 2"),
        (b'["\xff"]', "UTF-8"),
        ("[" * 100_000, "JSON"),
        ("{}", "not a list"),
        ("[]", "not a list"),
        ("[3]", "not an object"),
        ('[{"alias": "x"}]', "no `field`"),
        ('[{"field": "AF", "field": "AC"}]', "'field' is given twice"),
        (fields({"field": "AF", "feild": "x"}), "unknown key 'feild'"),
        (fields({"field": "AF", "alias": "pos"}), "'pos' is a column that every source has"),
        (fields({"field": "AF", "alias": "CTID"}), "'ctid' is a column"),
        (fields({"field": "AF", "alias": "x INT, y"}), "cannot be a column"),
        (fields({"field": "AF", "alias": 'a"b'}), "cannot be a column"),
        (fields({"field": "AF", "alias": ""}), "cannot be a column"),
        (fields({"field": "AF", "alias": "a" * 64}), "cannot be a column"),
        (fields({"field": "AF", "alias": "größe"}), "cannot be a column"),
        (fields({"field": "AF", "alias": 5}), "cannot be a column"),
        (
            fields({"field": "AF", "alias": "a"}, {"field": "AC", "alias": "A"}),
            "fields 1 and 2 have the same column",
        ),
        (
            fields({"field": "AF", "alias": "a", "fills": "rs_id"}, {"field": "AC", "alias": "rs_id"}),
            "fields 1 and 2 both fill 'rs_id'",
        ),
        (fields({"field": "AF", "type": "money"}), "unknown type 'money'"),
        (fields({"field": "AF", "type": "text); drop table x"}), "unknown type"),
        (fields({"field": "AF", "type": 3}), "unknown type"),
        (fields({"field": "AF", "fills": "gene"}), "`fills` is 'gene'"),
        (fields({"field": "AF", "missing_value": [1]}), "no single value"),
        (fields({"field": "AF", "description": 4}), "`description`"),
        (json.dumps([{"field": f"f{n}"} for n in range(501)]), "501 fields"),
    ],
)
def test_what_cannot_be_taken_is_told(text: str | bytes, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_fields(text)
    assert said in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"field": "AFF", "alias": "a"}, "did you mean 'AF'?"),
        ({"field": "af", "alias": "a"}, "did you mean 'AF'?"),
        ({"field": "ZZZZ", "alias": "a"}, "which the file does not declare"),
        ({"field": "GL", "type": "real"}, "a value for each genotype"),
        ({"field": "AF", "type": "text", "fills": "af_gnomad"}, "fills af_gnomad, which is real"),
        ({"field": "AC", "missing_value": "none"}, "is not integer"),
        ({"field": "AC", "missing_value": 2**40}, "is not integer"),
        ({"field": "DB", "missing_value": 1}, "is not boolean"),
    ],
)
def test_what_does_not_fit_the_file_is_told(entry: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as error:
        resolve(parse_fields(fields(entry)), DECLARED)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x; drop table", "cannot be part of a table's name"),
        ("../x", "cannot be part"),
        ("a" * 64, "has 64 characters"),
        ("a" * 59, "has 59 characters"),
        ("ClinVar", "rename its folder to 'clinvar'"),
        ("größe", "cannot be part"),
        ("клинвар", "cannot be part"),
        ("1kg", "cannot be part"),
        ("", "cannot be part"),
    ],
)
def test_a_sources_name_is_checked(name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        check_source_name(name)
    assert said in str(error.value)
    assert check_source_name("a" * 58) == "a" * 58


@pytest.mark.parametrize(
    "name", ["clinvar", "gnomad", "gnomad_v4", "dbsnp", "thousand_genomes", "cadd", "revel"]
)
def test_well_known_sources_need_no_configuration(name: str) -> None:
    found = ready_made(name)
    assert found is not None
    parse_fields(fields({"field": "AF"}))
    assert all(f.alias and f.type and f.description for f in found.fields)


def test_the_ready_made_lists_fill_every_column_of_variants() -> None:
    names = ("clinvar", "gnomad", "dbsnp", "thousand_genomes", "cadd", "revel")
    lists = [found for name in names if (found := ready_made(name))]
    assert {f.fills for found in lists for f in found.fields} - {None} == set(SEED_COLUMNS)
    assert ready_made("my_own") is None
