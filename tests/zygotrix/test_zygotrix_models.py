"""What the models take and refuse, and that the `$jsonSchema` made of them says the same."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import jsonschema
import pytest
from bson import ObjectId
from pydantic import ValidationError
from zygotrix_documents import AT, OID, VALID

from genomics_assets.zygotrix.extended_json import derived_id, identifier, moment, plain
from genomics_assets.zygotrix.models import MODELS
from genomics_assets.zygotrix.mongo_schema import mongo_schema

_IS = {
    "objectId": lambda v: isinstance(v, ObjectId),
    "string": lambda v: isinstance(v, str),
    "date": lambda v: isinstance(v, datetime.datetime),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "long": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "double": lambda v: isinstance(v, float),
    "bool": lambda v: isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}


def bson_type(_: Any, wanted: str | list[str], value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_IS[name](value) for name in names):
        yield jsonschema.ValidationError(f"{value!r} is none of {names}")


# The rules of draft 4 are those of another library; only BSON's types are added.
Referee = jsonschema.validators.extend(jsonschema.Draft4Validator, {"bsonType": bson_type})


def canonical(collection: str) -> dict[str, Any]:
    return MODELS[collection].model_validate(VALID[collection]).document()


@pytest.mark.parametrize("collection", VALID)
def test_the_seeds_documents_are_taken_and_pass_the_servers_schema(collection: str) -> None:
    document = canonical(collection)
    Referee(mongo_schema(MODELS[collection])).validate(document)
    # What was stored is taken again, and stays as it is.
    assert MODELS[collection].model_validate(document).document() == document
    assert set(VALID[collection]) <= set(document)


def test_the_eight_collections_are_those_of_the_seed() -> None:
    assert sorted(MODELS) == sorted(VALID) == [
        "conversations", "gwas_datasets", "gwas_jobs", "gwas_results", "traits", "university_courses",
        "university_enrollments", "users",
    ]  # fmt: skip


SPOILT = [
    ("users", "email", "no address"),
    ("users", "email", None),
    ("users", "role", "root"),
    ("users", "email_verified", "yes"),
    ("users", "created_at", "yesterday"),
    ("users", "preferences", {"auto_learn": "yes"}),
    ("traits", "alleles", [{"symbol": "B", "name": "Brown"}]),
    ("traits", "type", "magic"),
    ("traits", "inheritance_pattern", "by wish"),
    ("traits", "phenotypes", [{"genotypes": [], "name": "none"}]),
    ("conversations", "user_id", "a/b"),
    ("conversations", "messages", [{"id": "m", "role": "ghost", "content": "x", "timestamp": AT}]),
    ("gwas_datasets", "status", "cooked"),
    ("gwas_datasets", "snp_count", -1),
    ("gwas_datasets", "snp_count", 1.5),
    ("gwas_datasets", "storage_path", "../../etc/passwd"),
    ("gwas_datasets", "metadata", {"chromosomes": [1.5]}),
    ("gwas_jobs", "status", "lost"),
    ("gwas_jobs", "analysis_type", "guess"),
    ("gwas_jobs", "parameters", {"maf_threshold": 0.6}),
    ("gwas_jobs", "progress", 101),
    ("gwas_results", "summary", {"total_snps_tested": 1}),
    ("gwas_results", "top_hits", [VALID["gwas_results"]["top_hits"][0]] * 101),
    ("gwas_results", "top_hits", [{**VALID["gwas_results"]["top_hits"][0], "position": 0}]),
    ("gwas_results", "top_hits", [{**VALID["gwas_results"]["top_hits"][0], "p_value": 1.1}]),
    ("university_courses", "slug", "Not A Slug"),
    ("university_enrollments", "progress", 100.5),
]


@pytest.mark.parametrize(("collection", "field", "value"), SPOILT)
def test_code_and_server_refuse_the_same(collection: str, field: str, value: Any) -> None:
    model = MODELS[collection]
    with pytest.raises(ValidationError) as refused:
        model.model_validate({**VALID[collection], field: value})
    assert field in {str(error["loc"][0]) for error in refused.value.errors()}
    if (field, value) not in (("user_id", "a/b"),):  # text to a server
        assert not Referee(mongo_schema(model)).is_valid({**canonical(collection), field: value})


@pytest.mark.parametrize("collection", VALID)
def test_a_missing_field_is_refused_by_both(collection: str) -> None:
    model = MODELS[collection]
    schema = mongo_schema(model)
    assert schema["required"]
    for name in schema["required"]:
        broken = {k: v for k, v in canonical(collection).items() if k != name}
        assert not Referee(schema).is_valid(broken)
        if (collection, name) not in (("traits", "key"), ("traits", "type"), ("conversations", "updated_at")):
            with pytest.raises(ValidationError):
                model.model_validate(broken)


def test_errors_do_not_tell_values() -> None:
    with pytest.raises(ValidationError) as refused:
        MODELS["users"].model_validate({**VALID["users"], "email": "not-an-address", "password_hash": 12345})
    assert "not-an-address" not in str(refused.value)
    assert "12345" not in str(refused.value)


@pytest.mark.parametrize(
    ("collection", "alias", "given", "name", "stored"),
    [
        ("users", "user_role", "admin", "role", "admin"),
        ("users", "email", " Ada@Example.ORG ", "email", "ada@example.org"),
        ("gwas_datasets", "status", "ready", "status", "processed"),
        ("gwas_datasets", "status", "uploading", "status", "pending"),
        ("gwas_datasets", "file_format", "plink", "file_type", "plink"),
        ("gwas_datasets", "s3_key", "gwas-datasets/u/d/raw/f", "storage_path", "gwas-datasets/u/d/raw/f"),
        ("gwas_datasets", "num_snps", 5, "snp_count", 5),
        ("gwas_datasets", "num_samples", 6, "sample_count", 6),
        ("gwas_datasets", "error_message", "broken", "error", "broken"),
        ("gwas_jobs", "status", "queued", "status", "pending"),
        ("gwas_jobs", "status", "processing", "status", "running"),
        ("gwas_jobs", "status", "cancelled", "status", "cancelled"),
        ("gwas_jobs", "error_message", "broken", "error", "broken"),
        ("conversations", "id", "c9", "_id", "c9"),
    ],
)
def test_the_applications_words_become_the_canonical_ones(
    collection: str, alias: str, given: Any, name: str, stored: Any
) -> None:
    document = {k: v for k, v in VALID[collection].items() if k != name}
    made = MODELS[collection].model_validate({**document, alias: given}).document()
    assert made[name] == stored
    assert alias == name or alias not in made


def test_a_jobs_flat_parameters_go_where_the_documents_have_them() -> None:
    job = {**VALID["gwas_jobs"], "maf_threshold": 0.05, "significance_threshold": 5e-8}
    del job["parameters"]
    made = MODELS["gwas_jobs"].model_validate(job).document()
    assert made["parameters"] == {"maf_threshold": 0.05, "num_threads": None, "significance_threshold": 5e-8}


def test_preferences_in_the_applications_words() -> None:
    user = {**VALID["users"], "preferences": {"communication_style": "formal", "answer_length": "short"}}
    made = MODELS["users"].model_validate(user).document()["preferences"]
    assert made == {"style": "formal", "length": "short", "auto_learn": None}


def test_a_trait_of_the_application_becomes_one_of_the_documents() -> None:
    made = (
        MODELS["traits"]
        .model_validate(
            {
                "name": "Huntington's disease",
                "alleles": ["H", "h"],
                "phenotype_map": {"HH": "affected", "hH": "affected", "hh": "unaffected"},
                "inheritance_pattern": "autosomal dominant",
            }
        )
        .document()
    )
    assert (made["key"], made["type"]) == ("huntingtons_disease", "simple_dominant")
    assert made["phenotypes"] == [
        {"name": "affected", "genotypes": ["HH", "hH"]},
        {"name": "unaffected", "genotypes": ["hh"]},
    ]


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("Autosomal Dominant", "autosomal_dominant"), ("recessive", "autosomal_recessive"), ("autosomal", "mendelian"),
        ("codominant", "codominance"), ("incomplete dominance", "incomplete_dominance"),
    ],
)  # fmt: skip
def test_patterns_of_inheritance_in_many_spellings(written: str, stored: str) -> None:
    trait = {**VALID["traits"], "inheritance_pattern": written}
    assert MODELS["traits"].model_validate(trait).document()["inheritance_pattern"] == stored


def test_an_x_linked_trait_of_the_application() -> None:
    trait = {
        "key": "haemophilia",
        "name": "Haemophilia",
        "alleles": ["XH", "Xh", "Y"],
        "phenotype_map": {
            "XHXH": "clots",
            "XHXh": "clots",
            "XhXh": "bleeds",
            "XHY": "clots",
            "XhY": "bleeds",
        },
        "inheritance_pattern": "X-linked recessive",
    }
    made = MODELS["traits"].model_validate(trait).document()
    assert [allele["symbol"] for allele in made["alleles"]] == ["XH", "Xh"]
    assert made["type"] == "sex_linked_recessive"
    del trait["phenotype_map"]["XhY"]  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="no phenotype for genotype XhY"):
        MODELS["traits"].model_validate(trait)


def test_unknown_fields_are_kept() -> None:
    made = MODELS["users"].model_validate({**VALID["users"], "login_history": [{"at": AT}]}).document()
    assert made["login_history"] == [{"at": AT}]


# -- ids and moments ---------------------------------------------------------------------------------------------------


def test_an_id_has_one_type_whatever_it_was_written_as() -> None:
    assert identifier(OID) == identifier({"$oid": OID}) == identifier(ObjectId(OID)) == ObjectId(OID)
    assert identifier(17) == "17"


@pytest.mark.parametrize(
    "value", ["", " ", "..", "a/b", "a\\b", "a\nb", "x" * 201, None, 1.5, True, {"$oid": "xyz"}, "\ud800"]
)
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(ValueError, match=r"id (has|is)|oid has"):
        identifier(value)


def test_a_document_without_an_id_gets_the_one_of_its_natural_key() -> None:
    user = {k: v for k, v in VALID["users"].items() if k != "_id"}
    first = MODELS["users"].model_validate(user)
    again = MODELS["users"].model_validate({**user, "email": "ADA@example.org", "full_name": "Other"})
    assert first.id == again.id == derived_id("users", "ada@example.org")
    with pytest.raises(ValidationError, match="_id is missing"):
        MODELS["conversations"].model_validate(
            {k: v for k, v in VALID["conversations"].items() if k != "_id"}
        )


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-01T08:00:00Z", "2024-03-01 08:00", "2024-03-01T09:00:00+01:00", {"$date": "2024-03-01T08:00:00Z"},
        {"$date": 1709280000000}, {"$date": {"$numberLong": "1709280000000"}}, datetime.datetime(2024, 3, 1, 8),  # noqa: DTZ001
    ],
)  # fmt: skip
def test_moments_in_all_their_forms(value: Any) -> None:
    assert moment(value) == datetime.datetime(2024, 3, 1, 8, tzinfo=datetime.UTC)


@pytest.mark.parametrize("value", ["yesterday", 12, None, {"$date": 10**20}, {"$date": []}, {"$date": "x"}])
def test_what_is_no_moment(value: Any) -> None:
    with pytest.raises(ValueError, match="not a date and time"):
        moment(value)


def test_extended_json_is_unwrapped_at_any_depth() -> None:
    wrapped = {
        "a": [{"$numberInt": "1"}, {"b": {"$numberDouble": "0.5"}}],
        "u": {"$uuid": "f-0"},
        "$oid": 1,
        "x": 2,
    }
    before = deepcopy(wrapped)
    assert plain(wrapped) == {"a": [1, {"b": 0.5}], "u": "f-0", "$oid": 1, "x": 2}
    assert wrapped == before
    with pytest.raises(ValueError, match="not finite"):
        plain({"$numberDouble": "NaN"})
