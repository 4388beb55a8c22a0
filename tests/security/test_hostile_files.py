"""Files made to do harm: they are refused in one sentence, in little memory, and reach nothing outside of their place."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from genomics_assets.bmd.analysis_settings import read_analysis_settings
from genomics_assets.drops import DropKind
from genomics_assets.input_error import InputError
from genomics_assets.variants.inspection import inspect_vcf
from genomics_assets.variants.partitions import VCF_DROPS
from genomics_assets.variants.sidecar import read_vcf_sidecar
from resources.inbox import InboxResource
from resources.jobs.comsa import file_key
from resources.object_store import ObjectKeyError, ObjectStoreResource

MOST_BYTES = 500 << 20
PROJECT = Path(__file__).resolve().parents[2]
HEAD = b"##fileformat=VCFv4.2\n"
COLUMNS = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"

INSPECT = """
import json, sys
from pathlib import Path
from genomics_assets.input_error import InputError
from genomics_assets.variants.inspection import inspect_vcf
from genomics_assets.variants.reader import ReadOptions, VariantStream
import uuid
try:
    file = inspect_vcf(Path(sys.argv[1]), partition_key="k", file_path="bomb")
    stream = VariantStream(Path(sys.argv[1]), file.header, options=ReadOptions(uuid.UUID(int=0)))
    said = f"{sum(batch.num_rows for batch in stream.batches())} rows"
except InputError as error:
    said = str(error)
# Not getrusage's figure, which begins with the memory of the process that forked this one.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(json.dumps([said, int(peak.split()[1]) << 10]))
"""


def read_in_a_child(path: Path) -> tuple[str, int]:
    """What is said of a file, and the most memory that it took."""
    done = subprocess.run(
        [sys.executable, "-c", INSPECT, str(path)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, size = json.loads(done.stdout)
    return str(said), int(size)


def bomb(path: Path, head: bytes, body: bytes, times: int) -> Path:
    """Gzip of a head and a body so many times."""
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(times):
            file.write(body)
    return path


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (b"", bytes(1 << 20), "a line of over 128 MiB"),
        (HEAD + COLUMNS + b"chr1\t1\t.\tA\tG\t.\t.\tX=", b"A" * (1 << 20), "a line of over 128 MiB"),
        (HEAD, b"##x=" + b"y" * 1020 + b"\n" , "a header of over 128 MiB"),
    ],
    ids=["zeros", "one endless record", "endless header"],
)  # fmt: skip
def test_a_small_file_that_unpacks_without_end_is_refused_in_little_memory(
    tmp_path: Path, head: bytes, body: bytes, said: str
) -> None:
    times = (300 << 20) // len(body)
    file = bomb(tmp_path / "bomb.vcf.gz", head, body, times)
    assert file.stat().st_size < 5 << 20

    told, size = read_in_a_child(file)

    assert said in told
    assert "Remedy: " in told
    assert size < MOST_BYTES


def test_a_bgzf_block_that_claims_gigabytes_is_damaged(tmp_path: Path) -> None:
    from genomics_assets.annotations.bgzf_writer import BgzfWriter

    path = tmp_path / "a.vcf.gz"
    with path.open("wb") as file, BgzfWriter(file) as out:
        out.write(HEAD + COLUMNS)
    data = bytearray(path.read_bytes())
    end = struct.unpack_from("<H", data, 16)[0] + 1
    struct.pack_into("<I", data, end - 4, 0xFFFFFFF0)
    path.write_bytes(data)

    told, size = read_in_a_child(path)

    assert "damaged" in told
    assert size < MOST_BYTES


def test_yaml_that_multiplies_itself_is_refused(tmp_path: Path) -> None:
    levels = [f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join(["k0: &k0 [x, x, x, x, x, x, x, x, x]", *levels]) + "\nreference_genome: GRCh38\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match="unknown key"):
        read_vcf_sidecar(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(text.replace("k11:", "models:").replace("k10: ", "models: "))
    with pytest.raises(InputError):
        read_analysis_settings(tmp_path / "b.yaml")


def test_yaml_that_nests_without_end_is_refused_before_it_costs_time(tmp_path: Path) -> None:
    # The recursion of a YAML parser ends much later, and its scanner's time grows with the square of the depth.
    (tmp_path / "a.yaml").write_text("reference_genome: GRCh38\nsample_id: " + "{" * 200)
    with pytest.raises(InputError, match=r"a\.yaml, line 2: nested too deeply"):
        read_vcf_sidecar(tmp_path / "a.yaml")


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "a.yaml").write_text(f"reference_genome: !!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(InputError):
        read_vcf_sidecar(tmp_path / "a.yaml")
    assert not mark.exists()


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
def test_archives_are_never_unpacked(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "a.vcf"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(InputError, match="Remedy: "):
        inspect_vcf(path, partition_key="k", file_path="a.vcf")


@pytest.mark.parametrize(
    "key", ["../secret", "a/../../secret", "/etc/passwd", "..%2Fsecret/../..", "a//../../x"]
)
def test_no_partition_leads_out_of_the_inbox(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.vcf").write_bytes(HEAD + COLUMNS)
    (tmp_path / "inbox" / "vcf").mkdir(parents=True)
    with pytest.raises(InputError, match="Remedy: "):
        InboxResource(url=str(tmp_path / "inbox")).drop(VCF_DROPS, key)


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd", "a/./b", "a//b", ""])
def test_no_key_leads_out_of_the_object_store(tmp_path: Path, key: str) -> None:
    store = ObjectStoreResource(url=f"file://{tmp_path / 'objects'}")
    for use in (lambda: store.put_bytes(key, b"x"), lambda: store.read_bytes(key), lambda: store.delete(key)):
        with pytest.raises(ObjectKeyError):
            use()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["objects"])


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "x" * 300])
def test_no_file_of_a_job_leads_out_of_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="Remedy: "):
        file_key("653475d0-3a75-4bb6-b1cb-a3c466a6c02e", "output", name)


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.vcf").write_bytes(HEAD + COLUMNS)
    inbox = tmp_path / "inbox" / "vcf"
    inbox.mkdir(parents=True)
    os.symlink(outside, inbox / "linked")

    look = InboxResource(url=str(tmp_path / "inbox")).look(DropKind("vcf", "vcf", (".vcf",)))

    assert look.found == []
    assert "not followed" in str(look.oddities[0])
