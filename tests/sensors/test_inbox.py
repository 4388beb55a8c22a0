"""Finding the file of a partition again, and names that hold whatever people write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dagster._core.definitions.partitions.utils.base import INVALID_PARTITION_SUBSTRINGS
from drop_location import GWAS, VCF
from hypothesis import given
from hypothesis import strategies as st

from genomics_assets.drops import DropKind, Entry, Found, assign_keys, gather, is_inside, original, storable
from genomics_assets.input_error import InputError
from resources.inbox import InboxError, InboxResource


def put(inbox: Path, path: str, text: str = "text") -> Path:
    file = inbox / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# -- from a partition to its file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_partition_leads_to_its_file_and_sidecars(tmp_path: Path, scheme: str) -> None:
    file = put(tmp_path, "vcf/run 1/a.vcf.gz", "12345")
    put(tmp_path, "vcf/run 1/a.ped")
    put(tmp_path, "vcf/run 1/a.yaml")
    put(tmp_path, "vcf/run 1/ab.ped")
    inbox = InboxResource(url=f"{scheme}{tmp_path}")
    drop = inbox.drop(VCF, "run 1/a")
    assert (drop.partition_key, drop.uri, drop.size) == ("run 1/a", str(file), 5)
    assert drop.sidecars == (f"{tmp_path}/vcf/run 1/a.ped", f"{tmp_path}/vcf/run 1/a.yaml")
    with inbox.local(drop) as path, inbox.local(drop.sidecars[0]) as sidecar:
        assert path == file
        assert sidecar == file.parent / "a.ped"


def test_what_the_sensor_sees_is_what_the_run_sees(tmp_path: Path) -> None:
    put(tmp_path, "vcf/a.vcf")
    put(tmp_path, "vcf/a.ped")
    put(tmp_path, "gwas/ada/height/cohort.vcf")
    put(tmp_path, "gwas/ada/height/deep/er/extra.csv")
    inbox = InboxResource(url=str(tmp_path))
    for kind, key in ((VCF, "a"), (GWAS, "ada/height")):
        (seen,) = inbox.look(kind).found
        assert inbox.drop(kind, key).fingerprint == seen.fingerprint


def test_without_a_ledger_the_order_of_the_endings_tells_two_files_apart(tmp_path: Path) -> None:
    put(tmp_path, "vcf/a.bcf")
    put(tmp_path, "vcf/a.vcf.gz")
    inbox = InboxResource(url=str(tmp_path))
    assert inbox.drop(VCF, "a").uri.endswith("/a.vcf.gz")
    assert inbox.drop(VCF, "a.bcf").uri.endswith("/a.bcf")


def test_an_ending_may_be_in_capitals(tmp_path: Path) -> None:
    put(tmp_path, "vcf/A.VCF.GZ")
    inbox = InboxResource(url=str(tmp_path))
    assert inbox.drop(VCF, "A").uri.endswith("/A.VCF.GZ")


def test_a_file_that_is_gone_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    inbox = InboxResource(url=str(tmp_path))
    with pytest.raises(InputError, match=r"vcf/run1/a: nothing of this name .* Remedy: drop it again"):
        inbox.drop(VCF, "run1/a")
    with pytest.raises(InputError, match="gwas/ada/height: nothing of this name"):
        inbox.drop(GWAS, "ada/height")
    put(tmp_path, "vcf/a.vcf")
    drop = inbox.drop(VCF, "a")
    (tmp_path / "vcf/a.vcf").unlink()
    with pytest.raises(InputError, match="gone from the inbox"), inbox.local(drop):
        pass


@pytest.mark.parametrize(
    "key", ["../secret", "a/../../secret", "/etc/passwd", "", "a//b", "%2E%2E/secret", "."]
)
def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    put(tmp_path, "secret.vcf")
    put(tmp_path, "vcf/a.vcf")
    with pytest.raises(InputError, match="must name a place in the inbox"):
        InboxResource(url=str(tmp_path)).drop(VCF, key)


@pytest.mark.parametrize("change", ["replaced", "touched", "deleted", "sidecar added", "nothing"])
def test_a_drop_knows_whether_it_changed(tmp_path: Path, change: str) -> None:
    file = put(tmp_path, "vcf/deep/a.vcf")
    inbox = InboxResource(url=str(tmp_path))
    drop = inbox.drop(VCF, "deep/a")
    if change == "replaced":
        put(tmp_path, "vcf/deep/new", "other text").replace(file)
    elif change == "touched":
        os.utime(file, ns=(0, 0))
    elif change == "deleted":
        file.unlink()
    elif change == "sidecar added":
        put(tmp_path, "vcf/deep/a.yaml")
    assert inbox.unchanged(drop) is (change == "nothing")
    if change == "nothing":
        inbox.check_unchanged(drop)
        return
    with pytest.raises(InputError, match="replaced or deleted while it was being read"):
        inbox.check_unchanged(drop)


def test_the_inbox_of_the_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMICS_INBOX", str(tmp_path))
    put(tmp_path, "vcf/a.vcf")
    assert InboxResource().drop(VCF, "a").uri == f"{tmp_path}/vcf/a.vcf"


def test_an_inbox_of_an_unknown_kind_says_what_is_known() -> None:
    with pytest.raises(
        InboxError, match=r"ftp://.*only folders, file:// and s3:// are known.*GENOMICS_INBOX"
    ):
        InboxResource(url="ftp://host/inbox").look(VCF)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    closed = put(tmp_path, "vcf/closed/a.vcf").parent
    put(tmp_path, "vcf/b.vcf")
    closed.chmod(0)
    try:
        look = InboxResource(url=str(tmp_path)).look(VCF)
    finally:
        closed.chmod(0o700)
    assert [found.path for found in look.found] == ["b.vcf"]
    assert [str(oddity) for oddity in look.oddities] == ["closed (cannot be listed: Permission denied)"]


# -- names ---------------------------------------------------------------------------------------------------------------

# What a file name may hold: anything but NUL and "/", and bytes that are not UTF-8 as Python shows them.
file_names = st.binary(min_size=1, max_size=60).map(lambda b: b.replace(b"\0", b"\x01")).map(
    os.fsdecode
) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(". %\n\t"), min_size=1
)


@given(file_names)
def test_every_name_becomes_a_key_that_dagster_and_postgres_take_and_leads_back(name: str) -> None:
    key = storable(name)
    assert original(key) == name
    assert not any(forbidden in key for forbidden in INVALID_PARTITION_SUBSTRINGS)
    key.encode()
    assert len(key.splitlines()) <= 1


@given(file_names, file_names)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert (storable(one) == storable(other)) is (one == other)


@given(st.lists(st.sampled_from(["a", "b", ".", "..", "", "..."]), min_size=1).map("/".join))
def test_a_path_is_inside_exactly_if_the_file_system_says_so(path: str) -> None:
    if is_inside(path):
        assert os.path.normpath(f"/inbox/{path}") == f"/inbox/{path}"
    else:
        assert os.path.normpath(f"/inbox/{path}") != f"/inbox/{path}"


@given(
    st.lists(
        st.sampled_from(
            ["a.vcf", "a.vcf.gz", "a.bcf", "a.VCF", "b.vcf", "a.vcf.gz.vcf", "a.vcf.vcf", "d/a.vcf"]
        ),
        unique=True,
    ),
    st.randoms(),
)
def test_keys_do_not_depend_on_the_order_of_a_look_and_are_never_shared(
    paths: list[str], random: object
) -> None:
    found = [Found(path, 1, "1-1") for path in paths]
    keys, odd = assign_keys(VCF, found, {})
    random.shuffle(found)  # type: ignore[attr-defined]
    assert assign_keys(VCF, found, {})[0] == keys
    assert len(set(keys.values())) == len(keys)
    assert len(keys) + len(odd) == len(paths)
    # Whatever came before keeps its key when the rest arrives.
    early, _ = assign_keys(VCF, found[: len(found) // 2], {})
    late, _ = assign_keys(VCF, found, early)
    assert not set(late) & set(early)
    assert not set(late.values()) & set(early.values())


def test_a_path_too_long_for_a_key_is_refused_by_name() -> None:
    deep = "/".join(["x" * 200] * 6) + ".vcf"
    keys, (odd,) = assign_keys(VCF, [Found(deep, 1, "1-1")], {})
    assert keys == {}
    assert "longer than 1000 bytes" in odd.reason


def test_a_fingerprint_tells_size_stamp_and_members_apart() -> None:
    def fingerprint(kind: DropKind, *entries: Entry) -> str:
        return gather(kind, entries)[0][0].fingerprint

    file, sidecar = Entry("a.vcf", 5, "7"), Entry("a.ped", 5, "7")
    file_prints = [
        fingerprint(VCF, file),
        fingerprint(VCF, Entry("a.vcf", 6, "7")),
        fingerprint(VCF, Entry("a.vcf", 5, "8")),
        fingerprint(VCF, file, sidecar),
        fingerprint(VCF, file, Entry("a.yaml", 5, "7")),
        fingerprint(VCF, file, Entry("a.ped", 5, "8")),
    ]
    assert len(set(file_prints)) == len(file_prints)
    inside = Entry("u/d/a.vcf", 5, "7")
    folder_prints = [
        fingerprint(GWAS, inside),
        fingerprint(GWAS, inside, Entry("u/d/b.csv", 0, "7")),
        fingerprint(GWAS, inside, Entry("u/d/c.csv", 0, "7")),
    ]
    assert len(set(folder_prints)) == len(folder_prints)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"unit": "folder"}, "depth of at least 1"), ({"endings": ()}, "told by their endings")],
)
def test_a_kind_that_cannot_work_is_refused(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DropKind("vcf", "vcf", **arguments)  # type: ignore[arg-type]
