"""Our annotations are those of `bcftools annotate` on the same files."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from annotation_harness import AnnotatedWarehouse, vcf

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "inbox"

pytestmark = pytest.mark.skipif(
    shutil.which("bcftools") is None, reason="bcftools is not installed (apt install bcftools)"
)


def bcftools(*arguments: object) -> str:
    done = subprocess.run(["bcftools", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def annotated_by_bcftools(
    folder: Path, file: Path, source: Path, field: str, *norm: object
) -> set[tuple[Any, ...]]:
    """(chrom, pos, ref, alt, value) of every ALT allele; contigs of a source get their `chr`."""
    chromosomes = folder / "chromosomes"
    chromosomes.write_text("".join(f"{name} chr{name}\n" for name in [*range(1, 23), "X"]) + "MT chrM\n")
    ready = []
    for path in (file, source):
        whole = folder / f"{path.name}.bcf"
        renamed = folder / f"{path.name}.renamed.bcf"
        text = path.read_text()
        known = folder / path.name
        contigs = {line.split("\t")[0] for line in text.splitlines() if not line.startswith("#")}
        missing = [f"##contig=<ID={name}>\n" for name in sorted(contigs) if f"<ID={name}" not in text]
        known.write_text(text.replace("#CHROM", "".join(missing) + "#CHROM", 1))
        bcftools("annotate", "--rename-chrs", chromosomes, "-Ob", "-o", renamed, known)
        bcftools("norm", "-m", "-any", *norm, "-Ob", "-o", whole, renamed)
        bcftools("sort", "-Ob", "-o", renamed, whole)
        bcftools("index", "-f", renamed)
        ready.append(renamed)
    out = folder / "annotated.bcf"
    bcftools("annotate", "-a", ready[1], "-c", f"INFO/_V:=INFO/{field}", "-Ob", "-o", out, ready[0])
    lines = bcftools("query", "-f", r"%CHROM\t%POS\t%REF\t%ALT\t%INFO/_V\n", out).splitlines()
    return {tuple(line.split("\t")) for line in lines}


def test_bundled_files_are_annotated_alike(warehouse: AnnotatedWarehouse, tmp_path: Path) -> None:
    for source in ("clinvar", "gnomad"):
        [file] = (EXAMPLES / "annotations" / source).iterdir()
        warehouse.take(source, file.read_bytes(), name=file.name)
    for name in ("trio", "panel"):
        warehouse.load_file(f"{name}.vcf", (EXAMPLES / "vcf" / f"{name}.vcf").read_bytes())
    warehouse.annotate()
    for name in ("trio", "panel"):
        for source, field, column in (
            ("clinvar", "CLNSIG", "clinvar__clinvar_sig"),
            ("gnomad", "AC", "gnomad__ac"),
        ):
            [file] = (EXAMPLES / "annotations" / source).iterdir()
            theirs = annotated_by_bcftools(tmp_path, EXAMPLES / "vcf" / f"{name}.vcf", file, field)
            ours = warehouse.query(
                f"SELECT chrom, pos::text, ref, alt, coalesce({column}::text, '.') FROM genomics.annotated_variants "
                "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = %s",
                name,
            )
            # Two names of one contig cannot become one in bcftools.
            apart = ("chrM", "MT", "HLA")
            assert {row for row in ours if not row[0].startswith(apart)} == {
                row for row in theirs if not row[0].startswith(apart)
            }
            assert len({value for *_, value in ours}) > 3


def repeats(draw: random.Random) -> str:
    """Bases full of short repeats, where an indel can be written in many ways."""
    return "".join(draw.choice(["A", "C", "GT", "CAG", "TTA"]) * draw.randint(1, 6) for _ in range(300))


def written_in_some_way(draw: random.Random, bases: str) -> tuple[int, str, str]:
    """An indel or SNV with bases around it that need not be there."""
    start = draw.randint(20, len(bases) - 40)
    length = draw.randint(1, 4)
    ref = bases[start : start + length]
    alt = draw.choice(
        [ref[0] + draw.choice(["A", "CAG", "GT"]) + ref[1:], ref[0], ref[:-1] + draw.choice("ACGT")]
    )
    left, right = draw.randint(0, 3), draw.randint(0, 3)
    before, after = bases[start - left : start], bases[start + length : start + length + right]
    return start - left + 1, before + ref + after, before + alt + after


def test_indels_written_in_other_ways_are_annotated_alike(
    warehouse: AnnotatedWarehouse, source: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(11)
    bases = repeats(draw)
    fasta = tmp_path / "ref.fa"
    fasta.write_text(f">chr1\n{bases}\n")
    monkeypatch.setenv("GENOMICS_REFERENCE_FASTA", str(fasta))
    contig = (f"chr1,length={len(bases)}",)
    sites = sorted({written_in_some_way(draw, bases) for _ in range(600)})
    sites = [(pos, ref, alt) for pos, ref, alt in sites if ref != alt]
    kept = draw.sample(sites, 400)
    records = [
        f"chr1 {pos} {ref} {alt} AF={number / 1024}" for number, (pos, ref, alt) in enumerate(sorted(kept), 1)
    ]
    content = vcf(*(f"chr1 {pos} {ref} {alt} ." for pos, ref, alt in sites), contigs=contig)
    warehouse.load_file(f"{name}.vcf", content)
    warehouse.put_fields(source, {"field": "AF", "alias": "af"})
    path = warehouse.put(source, "source.vcf", vcf(*records, contigs=contig))
    warehouse.take(source, path.read_bytes(), name="source.vcf")
    warehouse.annotate()

    theirs = annotated_by_bcftools(tmp_path, warehouse.inbox / "vcf" / f"{name}.vcf", path, "AF", "-f", fasta)
    ours = warehouse.query(
        f"SELECT chrom, pos::text, ref, alt, {source}__af FROM genomics.annotated_variants "
        "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = %s",
        name,
    )

    assert {row[:4] for row in ours} == {row[:4] for row in theirs}
    # Where several records have one allele, bcftools takes the last, we the first.
    assert {row[:4] for row in ours if row[4] is not None} == {row[:4] for row in theirs if row[4] != "."}
    assert sum(row[4] is not None for row in ours) > 300
