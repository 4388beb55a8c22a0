"""Dropped exports: what becomes a document, what goes to quarantine and why, and what is never told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from run_results import everything_told, failure
from zygotrix_application import Application, checks, metadata
from zygotrix_documents import AT, OID, VALID

from genomics_assets.input_error import InputError
from genomics_assets.zygotrix.jsonl import (
    REASONS,
    CollectionDrop,
    Settled,
    expect_usable,
    read_export,
    without_secrets,
)
from genomics_assets.zygotrix.models import MODELS, Document

EXPORTED = ("users", "traits", "conversations", "university_courses", "university_enrollments")
ASSETS = {name: "dropped_traits" if name == "traits" else name for name in EXPORTED}
USER = VALID["users"]
HASH = USER["password_hash"]


def as_they_are(documents: Sequence[Document]) -> list[Settled]:
    return [Settled(document) for document in documents]


def read(path: Path, content: bytes, collection: str = "users") -> CollectionDrop:
    path = path / "export.jsonl"
    path.write_bytes(content)
    return read_export(path, MODELS[collection], as_they_are)


def quarantine_of(drop: CollectionDrop) -> list[dict[str, Any]]:
    return [json.loads(line) for line in drop.quarantine().read().splitlines()]


def line(**changes: Any) -> bytes:
    return json.dumps({**USER, **changes}).encode()


# -- lines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (b"{", "not_json", None),
        (b'{"email": "a@b.c"', "not_json", None),
        (b'{"email": "a@b.c", "n": NaN}', "not_json", None),
        (b"[" * 100_000, "not_json", None),
        (b'"text"', "not_an_object", None),
        (b"[1, 2]", "not_an_object", None),
        (b"null", "not_an_object", None),
        (b'{"email": "a\xff@b.c"}', "not_utf8", None),
        (b'{"email": "a@b.c", "email": "d@e.f"}', "repeated_field", None),
        (b'{"email": "a@b.c", "x": {"a": 1, "a": 2}}', "repeated_field", None),
        (line(_id="u9", login={"a.b": 1}), "unstorable_value", None),
        (line(_id="u9", **{"$where": "1"}), "unstorable_value", None),
        (line(_id="u9", big=2**64), "unstorable_value", None),
        (line(_id="u9", half="\ud800"), "unstorable_value", None),
        (line(_id="u9", zero="a\0b"), "unstorable_value", None),
        (line(_id="u9", data={"$binary": {"base64": "", "subType": "00"}}), "unstorable_value", None),
        (line(_id="u9", data={"$numberDouble": "NaN"}), "unstorable_value", None),
        (b'{"email": "x@y.z", "deep": ' + b"[" * 200 + b"]" * 200 + b"}", "unstorable_value", None),
        (b'{"full_name": "Nobody"}', "missing_field", "email"),
        (line(_id="u9", email=5), "wrong_type", "email"),
        (line(_id="u9", preferences=[]), "wrong_type", "preferences"),
        (line(_id="u9", role="root"), "unknown_word", "role"),
        (line(_id="u9", email="nowhere"), "wrong_value", "email"),
        (line(_id="u9", created_at="soon"), "wrong_value", "created_at"),
        (line(_id="a/b"), "wrong_value", "_id"),
        (line(_id="u9"), "repeated_record", None),
        (line(email="other@example.org"), "repeated_record", None),
        (line(_id="u9", email="ADA@example.org"), "repeated_record", None),
    ],
)  # fmt: skip
def test_a_bad_line_is_rejected_with_its_reason_and_number(
    tmp_path: Path, bad: bytes, reason: str, field: str | None
) -> None:
    drop = read(tmp_path, line() + b"\n\n" + bad + b"\n" + line(_id="u2", email="b@c.d"))
    assert (drop.accepted, dict(drop.rejected), drop.first) == (2, {reason: 1}, {reason: 3})
    [reject] = quarantine_of(drop)
    assert (reject["line"], reject["reason"], reject["field"]) == (3, reason, field)
    assert reject["problem"]
    assert [document["email"] for document in drop.documents()] == ["ada@example.org", "b@c.d"]


def test_a_trait_that_does_not_cover_its_genotypes_is_rejected(tmp_path: Path) -> None:
    trait = {**VALID["traits"], "phenotypes": [{"genotypes": ["BB"], "name": "Brown eyes"}]}
    drop = read(tmp_path, json.dumps(trait).encode(), "traits")
    [reject] = quarantine_of(drop)
    assert (reject["reason"], reject["problem"]) == ("wrong_value", "no phenotype for genotype Bb, bb")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_bom_line_ends_and_blank_lines_do_not_matter(tmp_path: Path, start: bytes, end: bytes) -> None:
    drop = read(tmp_path, start + end.join([line(), b"  ", b"", line(_id="u2", email="b@c.d")]))
    assert (drop.lines, drop.accepted, drop.rejected.total()) == (2, 2, 0)


def test_a_line_of_ten_megabytes_is_taken_and_one_over_sixteen_is_not(tmp_path: Path) -> None:
    sizes = {"u1": 10, "u2": 17, "u3": 65}
    lines = [line(_id=name, email=f"{name}@x.y", note="x" * (mb << 20)) for name, mb in sizes.items()]
    drop = read(tmp_path, b"\n".join([*lines, line(_id="u4", email="u4@x.y")]))
    assert dict(drop.rejected) == {"too_large": 1, "line_too_long": 1}
    assert [(r["line"], r["reason"]) for r in quarantine_of(drop)] == [(2, "too_large"), (3, "line_too_long")]
    assert [document["_id"] for document in drop.documents()] == ["u1", "u4"]


def test_every_reason_is_explained() -> None:
    from typing import get_args

    from genomics_assets.zygotrix.jsonl import Reason

    assert set(get_args(Reason)) == set(REASONS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n \r\n", "no line holds anything"),
        (gzip.compress(b"{}", mtime=0), "it is compressed"),
        (b"PK\x03\x04zip", "it is compressed"),
        ('{"a": 1}'.encode("utf-16"), "it is not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16-le"), "it is not UTF-8 text"),
        (json.dumps([USER], indent=1).encode(), "it is one JSON array"),
        (json.dumps([USER]).encode(), "it is one JSON array"),
        (
            b"email,full_name\nada@example.org,Ada\n",
            r"line 1: none of its 2 lines is a document of users; 2 times: not JSON",
        ),
    ],
)
def test_a_file_that_is_no_export_is_refused_as_a_whole(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=rf"export.jsonl.*{problem}.*Remedy: ") as refused:
        expect_usable(read(tmp_path, content), file_name="export.jsonl", quarantine="quarantine/x")
    assert "ada@" not in str(refused.value)


@pytest.mark.parametrize(
    "secret",
    [
        "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1$x", "pbkdf2_sha256$1$x", "$6$salt$x", "scrypt:1:2$x",
        "5f4dcc3b5aa765d61d8327deb882cf99",
    ],
)  # fmt: skip
def test_secrets_are_known_by_value_where_their_field_has_another_name(secret: str) -> None:
    assert without_secrets({"a": [{"legacy": secret}], "b": "plain"}) == {
        "a": [{"legacy": "***"}],
        "b": "plain",
    }


# -- through the job ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", EXPORTED)
def test_an_export_is_stored_once_however_often_it_is_loaded(
    application: Application, collection: str
) -> None:
    result = application.load_file(f"{collection}/march.jsonl", VALID[collection])
    told = metadata(result, ASSETS[collection])
    assert (told["accepted"], told["rejected"], told["dagster/partition_row_count"]) == (1, 0, 1)
    assert checks(result)["lines_accepted"] == "passed"
    expected = MODELS[collection].model_validate(VALID[collection]).document()
    stored = {document["_id"]: document for document in application.documents(collection)}
    found = stored[expected["_id"]]
    assert {name: found[name] for name in expected} == expected
    again = metadata(application.load(collection, "march"), ASSETS[collection])
    assert (again["unchanged"], again["inserted"], again["replaced"]) == (1, 0, 0)
    assert {document["_id"]: document for document in application.documents(collection)} == stored


def test_neither_hash_nor_address_is_told_anywhere(
    application: Application, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [
        USER,
        {**USER, "_id": "u2", "email": "grace@example.org", "role": "root"},
        {**USER, "_id": "u3", "email": "nowhere", "legacy": HASH},
        {**USER, "_id": "u4"},
        json.dumps(USER)[:-1],
    ]
    result = application.load_file("users/march.jsonl", *lines)
    told = everything_told(result) + "".join(capfd.readouterr())
    assert metadata(result, "users")["rejected"] == 4
    rejects = application.quarantined("users", "march")
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (2, "unknown_word"), (3, "wrong_value"), (4, "repeated_record"), (5, "not_json"),
    ]  # fmt: skip
    for text in (told, json.dumps(rejects)):
        assert HASH not in text
        assert "abcdefghijklmnop" not in text
    for address in ("ada@", "grace@", "nowhere", "Ada Example"):
        assert address not in told
    # What is needed to mend the line is there.
    assert rejects[0]["record"]["email"] == "grace@example.org"
    assert rejects[0]["record"]["password_hash"] == "***"
    assert "record" not in rejects[3]


def test_a_failed_file_tells_no_value_either(application: Application) -> None:
    result = application.load_file("users/march.jsonl", {**USER, "role": "root"}, f"{HASH} ada@example.org")
    message = failure(result)
    assert "users/march.jsonl" in message
    assert "none of its 2 lines is a document of users" in message
    assert "quarantine/zygotrix/users/march.jsonl" in message
    assert "ada@" not in everything_told(result)
    assert HASH not in everything_told(result)
    assert len(application.quarantined("users", "march")) == 2
    assert application.documents("users") == []


def test_a_newer_version_of_a_file_replaces_what_the_older_one_gave(application: Application) -> None:
    grace = {**USER, "_id": "u2", "email": "grace@example.org"}
    application.load_file("users/march.jsonl", USER, grace)
    application.load_file("users/march.jsonl", {**USER, "full_name": "Ada Lovelace"})
    assert [d["full_name"] for d in application.documents("users")] == ["Ada Lovelace"]


def test_nothing_is_removed_while_lines_are_rejected(application: Application) -> None:
    grace = {**USER, "_id": "u2", "email": "grace@example.org"}
    application.load_file("users/march.jsonl", USER, grace)
    result = application.load_file(
        "users/march.jsonl", {**USER, "full_name": "Ada Lovelace"}, '{"_id": "u2", '
    )
    assert metadata(result, "users")["removed"] == 0
    assert checks(result)["lines_accepted"] == "warn"
    assert {d["email"] for d in application.documents("users")} == {"grace@example.org", "ada@example.org"}
    # The corrected file clears the quarantine.
    application.load_file("users/march.jsonl", USER)
    assert application.quarantined("users", "march") == []
    assert len(application.documents("users")) == 1


def test_the_natural_key_decides_which_stored_document_is_meant(application: Application) -> None:
    application.load_file("users/march.jsonl", USER)
    nameless = {k: v for k, v in USER.items() if k != "_id"}
    result = application.load_file(
        "users/april.jsonl", {**nameless, "email": "ADA@example.org", "full_name": "Ada L."}
    )
    assert metadata(result, "users")["taken_over"] == 1
    [user] = application.documents("users")
    assert (user["_id"], user["full_name"], user["_partition"]) == (ObjectId(OID), "Ada L.", "april")
    # Another _id for the same address would break whatever refers to the first one.
    result = application.load_file(
        "users/may.jsonl", {**USER, "_id": "u7"}, {**USER, "_id": "u8", "email": "b@c.d"}
    )
    assert [r["reason"] for r in application.quarantined("users", "may")] == ["taken_key"]
    assert len(application.documents("users")) == 2


def test_two_lines_that_mean_one_stored_document(application: Application) -> None:
    application.load_file("users/march.jsonl", USER)
    nameless = {k: v for k, v in USER.items() if k != "_id"}
    result = application.load_file("users/april.jsonl", {**USER, "email": "new@example.org"}, nameless)
    assert result.success
    assert [r["reason"] for r in application.quarantined("users", "april")] == ["repeated_record"]


def test_enrollments_are_one_for_each_user_and_course(application: Application) -> None:
    enrollment = VALID["university_enrollments"]
    other = {**enrollment, "course_slug": "mendel-102"}
    application.load_file("university_enrollments/march.jsonl", enrollment, other)
    newer = {**enrollment, "progress": 80, "user_id": {"$oid": OID}}
    application.load_file("university_enrollments/april.jsonl", newer)
    stored = {d["course_slug"]: d["progress"] for d in application.documents("university_enrollments")}
    assert stored == {"mendel-101": 80.0, "mendel-102": 40.0}


def test_a_dropped_trait_goes_before_the_bundled_one_and_gives_way_when_it_goes(
    application: Application,
) -> None:
    mine = {**VALID["traits"], "key": "cystic_fibrosis", "name": "CF, our own words"}
    other = {**VALID["traits"], "key": "of_our_own"}
    result = application.load_file("traits/ours.jsonl", mine, other)
    assert metadata(result, "trait_crosses")["traits"] == 86

    def name() -> str:
        return {d["key"]: d["name"] for d in application.documents("traits")}["cystic_fibrosis"]

    assert name() == "CF, our own words"
    assert application.run("look_after_store").success
    assert name() == "CF, our own words"
    assert application.load_file("traits/ours.jsonl", other).success
    assert application.run("look_after_store").success
    assert name() == "Cystic fibrosis"
    again = metadata(application.run("look_after_store"), "traits")
    assert (again["unchanged"], again["inserted"], again["replaced"]) == (85, 0, 0)


def test_courses_may_be_dropped_under_their_short_name(application: Application) -> None:
    application.drop("courses/spring.jsonl", VALID["university_courses"])
    assert application.load("university_courses", "spring").success
    assert len(application.documents("university_courses")) == 1
    application.drop("university_courses/spring.jsonl", VALID["university_courses"])
    assert "files of this name lie in zygotrix/university_courses and in zygotrix/courses" in failure(
        application.load("university_courses", "spring")
    )


@pytest.mark.parametrize("key", ["../../etc/passwd", "gone"])
def test_a_partition_that_no_file_has(application: Application, key: str) -> None:
    assert "Remedy: " in failure(application.load("users", key))


def test_fields_that_no_model_knows_are_kept_and_counted(application: Application) -> None:
    result = application.load_file(
        "users/april.jsonl", {**USER, "login_history": [{"$date": AT}], "Ada L": 1}
    )
    assert metadata(result, "users")["unknown_fields_kept"] == "1 login_history, 1 (other names)"
    assert application.documents("users")[0]["login_history"][0].year == 2024
