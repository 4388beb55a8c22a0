"""A burst of dropped files and two sources, through the real daemon: each is taken, and a pass serves them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stack import Stack, wait_until

FILES = 12
PASSES = "SELECT count(*) FROM dagster.runs WHERE status = 'SUCCESS' AND pipeline_name NOT IN ('load_vcf', 'load_annotation')"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("annotations") / "home")
    stack.up()
    yield stack
    stack.down()


def sites(*records: str) -> bytes:
    lines = ["##fileformat=VCFv4.2", "##source=ClinVar", "##contig=<ID=chr2,length=242193529>"]
    lines += [
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="s">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    return ("\n".join([*lines, *records]) + "\n").encode()


def put_source(stack: Stack, name: str, significance: str) -> None:
    """A ClinVar-like source that knows the first variant of each file."""
    path = stack.home / "inbox" / "annotations" / "clinvar" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"2\t{100 * n + 1}\t{n}\tA\tC\t.\t.\tCLNSIG={significance}" for n in range(1, FILES + 1)]
    part = path.with_name(f".{name}.part")
    part.write_bytes(sites(*rows))
    part.rename(path)


@pytest.mark.timeout(1500)
def test_a_burst_of_files_is_annotated_by_a_pass_not_by_one_each(stack: Stack) -> None:
    put_source(stack, "clinvar_20260104.vcf", "Benign")
    for number in range(1, FILES + 1):
        rows = [f"chr2\t{100 * number + i}\t.\tA\tC\t.\tPASS\t." for i in (1, 2, 3)]
        stack.drop(f"burst/f{number}.vcf", sites(*rows))
    filled = "SELECT count(*) FROM genomics.variants WHERE clinvar_sig = %s"

    wait_until(
        "every file is annotated", lambda: stack.number(filled, "Benign") == FILES, seconds=600, every=1
    )
    passes = stack.number(PASSES)
    # Files come in batches of those that run at a time; a pass may begin when all that is known is done.
    assert 1 <= passes <= 3, "not one for each file"

    put_source(stack, "clinvar_20260201.vcf", "Pathogenic")
    wait_until(
        "the new version shows", lambda: stack.number(filled, "Pathogenic") == FILES, seconds=600, every=1
    )
    assert (
        stack.number(
            "SELECT count(*) FROM genomics.annotation_changes WHERE old_value = 'Benign' AND new_value = 'Pathogenic'"
        )
        == FILES
    )
