from __future__ import annotations

from pathlib import Path

import cyvcf2
import numpy as np
import pytest
from cohort_harness import Cohort

from benchmarks.cohort_generator import SyntheticCohort
from benchmarks.vcf_generator import write_bgzf
from genomics_assets.gwas.dataset import GenotypeDataset, read_dataset
from genomics_assets.gwas.genotype_matrix import unpack
from genomics_assets.gwas.vcf_genotypes import Engine, import_vcf
from genomics_assets.input_error import InputError

HEADER = (
    "##fileformat=VCFv4.2",
    "##contig=<ID=1,length=249250621>",
    "##contig=<ID=X,length=155270560>",
    "##contig=<ID=Y,length=59373566>",
    "##contig=<ID=MT,length=16569>",
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="">',
)
TWO, MISSING, ONE, NONE = 0, 1, 2, 3
ENGINES: tuple[Engine, ...] = ("compiled", "python")


def vcf(folder: Path, *records: str, samples: int = 5, name: str = "x.vcf", end: str = "\n") -> Path:
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"] + [
        f"S{i}" for i in range(samples)
    ]
    lines = [*HEADER, "\t".join(columns), *("\t".join(record.split(" ")) for record in records)]
    path = folder / name
    path.write_bytes((end.join(lines) + end).encode())
    return path


def imported(path: Path, engine: Engine) -> GenotypeDataset:
    folder = path.parent / f"{path.name}-{engine}"
    folder.mkdir()
    return import_vcf(path, folder, engine=engine)


def calls(dataset: GenotypeDataset) -> list[list[int]]:
    return unpack(dataset.matrix.rows(0, dataset.matrix.variants), dataset.matrix.samples).tolist()


ODD_RECORDS = (
    "1 100 rs1 A G . . . GT 0/0 0/1 1/1 ./. 1|0",
    "1 101 . A G . . . GT:DP 0/0:1 0/1:. 1/1 . ./1:3",
    "1 102 rs3;x C T,G . . . GT 0/1 1/2 2/2 0|2 ./2",
    "1 103 . CAT C,CAAT . . . GT 0/0 0/1 1/2 2/2 0/2",
    "1 104 . A G . . . DP:GT 3:0/0 4:0/1 5:1/1 6:./. 7:1|1",
    "1 105 . A . . . . GT 0/0 0/0 0/0 0/0 0/0",
    "1 106 . A *,G . . . GT 0/1 1/2 2/2 0/0 ./.",
    "1 107 . A <NON_REF> . . . GT 0/1 0/0 0/0 0/0 0/0",
    "1 108 . A G . . . GT 0/0/1 1/1/1 0/1 1/1 0/0",
    "1 109 . A G . . . DP 1 2 3 4 5",
    "1 110 . a g . . . GT 0/1 1/1 0/0 0/0 ./.",
    "X 5000000 . A G . . . GT 0 1 0/1 1/1 .",
    "X 5000001 . A G,T . . . GT 2 1 1/2 0/0 0",
    "Y 5000000 . A G . . . GT 0 1 . . 1",
    "MT 300 . A G . . . GT 0 1 1 0 1",
    "GL1 300 . A G . . . GT 0/0 0/1 1/1 0/1 0/0",
)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_alternate_allele_is_a_row_of_its_copies(tmp_path: Path, engine: Engine) -> None:
    dataset = imported(vcf(tmp_path, *ODD_RECORDS), engine)
    names = ["rsid", "chromosome", "position", "ref_allele", "alt_allele"]
    rows = [tuple(row[name] for name in names) for row in dataset.variants.to_pylist()]
    assert list(zip(rows, calls(dataset), strict=True)) == [
        (("rs1", "chr1", 100, "A", "G"), [NONE, ONE, TWO, MISSING, ONE]),
        (("chr1:101:A:G", "chr1", 101, "A", "G"), [NONE, ONE, TWO, MISSING, MISSING]),
        (("rs3", "chr1", 102, "C", "T"), [ONE, ONE, NONE, NONE, MISSING]),
        (("rs3", "chr1", 102, "C", "G"), [NONE, ONE, TWO, ONE, MISSING]),
        (("chr1:103:CAT:C", "chr1", 103, "CAT", "C"), [NONE, ONE, ONE, NONE, NONE]),
        (("chr1:103:C:CA", "chr1", 103, "C", "CA"), [NONE, NONE, ONE, TWO, ONE]),
        (("chr1:104:A:G", "chr1", 104, "A", "G"), [NONE, ONE, TWO, MISSING, TWO]),
        (("chr1:106:A:G", "chr1", 106, "A", "G"), [NONE, ONE, TWO, NONE, MISSING]),
        (("chr1:108:A:G", "chr1", 108, "A", "G"), [MISSING, MISSING, ONE, TWO, NONE]),
        (("chr1:110:A:G", "chr1", 110, "A", "G"), [ONE, TWO, NONE, NONE, MISSING]),
        (("chrX:5000000:A:G", "chrX", 5000000, "A", "G"), [NONE, TWO, ONE, TWO, MISSING]),
        (("chrX:5000001:A:G", "chrX", 5000001, "A", "G"), [NONE, TWO, ONE, NONE, NONE]),
        (("chrX:5000001:A:T", "chrX", 5000001, "A", "T"), [TWO, NONE, ONE, NONE, NONE]),
        (("chrY:5000000:A:G", "chrY", 5000000, "A", "G"), [NONE, TWO, MISSING, MISSING, TWO]),
        (("chrM:300:A:G", "chrM", 300, "A", "G"), [NONE, TWO, TWO, NONE, TWO]),
        (("GL1:300:A:G", "GL1", 300, "A", "G"), [NONE, ONE, TWO, ONE, NONE]),
    ]
    assert dataset.skipped == {"no_alternate_allele": 2, "spanning_deletion": 1, "no_genotypes": 1}
    assert dataset.noted["ploidy_above_two"] == 2
    assert dataset.sex.tolist() == [1, 1, 2, 2, 1]
    assert dataset.build == "GRCh37"


def test_both_engines_give_the_same_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    texts = np.array(["0/0", "0/1", "1/1", "1|0", "./.", ".", "0", "1", "./1", "0/2", "2/2", "2|1"])
    records = []
    for pos in range(1, 400):
        alt = "G" if pos % 3 else "G,T"
        weights = (
            np.array([30, 20, 20, 5, 3, 1, 1, 1, 1, 1, 1, 1])
            if pos % 3 == 0
            else np.array([30, 20, 20, 5, 3, 1, 1, 1, 1, 0, 0, 0])
        )
        row = random.choice(texts, 37, p=weights / weights.sum()) if pos % 5 else np.array(["0/1"] * 37)
        keys, tail = ("GT:DP", ":7") if pos % 7 == 0 else ("GT", "")
        records.append(
            f"{'X' if pos % 11 == 0 else '1'} {pos} rs{pos} A {alt} . . . {keys} "
            + " ".join(x + tail for x in row)
        )
    path = vcf(tmp_path, *records, samples=37)
    compiled, python = (imported(path, engine) for engine in ENGINES)
    assert calls(compiled) == calls(python)
    assert compiled.variants.equals(python.variants)
    assert compiled.samples.equals(python.samples)


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_are_those_that_cyvcf2_reads(tmp_path: Path, engine: Engine) -> None:
    records = [record for record in ODD_RECORDS if " 108 " not in record and " 109 " not in record]
    path = vcf(tmp_path, *records)
    expected = []
    for record in cyvcf2.VCF(str(path)):
        alleles = np.array(record.genotype.array())[:, :-1]
        for number, alt in enumerate(record.ALT, 1):
            if alt in ("*", "<NON_REF>"):
                continue
            haploid = (alleles != -2).sum(axis=1) == 1
            copies = (alleles == number).sum(axis=1) * np.where(haploid, 2, 1)
            expected.append(
                np.where((alleles == -1).any(axis=1), MISSING, np.array([NONE, ONE, TWO])[copies]).tolist()
            )
    assert calls(imported(path, engine)) == expected


def test_a_cohort_written_as_vcf_has_the_bytes_of_its_bed(cohort: Cohort, tmp_path: Path) -> None:
    generator = SyntheticCohort(600, 4400, seed=11, missing=0.02, planted=8, linked=5, effect=0.45)
    path = tmp_path / "cohort.vcf.gz"
    write_bgzf(path, generator.vcf_text(cohort.stem), level=1)
    dataset = import_vcf(path, tmp_path)
    assert (tmp_path / "genotypes.bed").read_bytes() == cohort.stem.with_suffix(".bed").read_bytes()
    assert dataset.variants.equals(cohort.dataset.variants)
    assert read_dataset(tmp_path).samples["sample_id"].equals(cohort.dataset.samples["sample_id"])


def test_a_bcf_gives_what_its_vcf_gives(tmp_path: Path) -> None:
    source = cyvcf2.VCF(str(vcf(tmp_path, *[r for r in ODD_RECORDS if not r.startswith("GL1")])))
    writer = cyvcf2.Writer(str(tmp_path / "x.bcf"), source, mode="wb")
    for record in source:
        writer.write_record(record)
    writer.close()
    one, other = imported(tmp_path / "x.vcf", "compiled"), imported(tmp_path / "x.bcf", "compiled")
    expected = [
        row
        for row, name in zip(calls(one), one.variants["chromosome"].to_pylist(), strict=True)
        if name != "GL1"
    ]
    assert calls(other) == expected


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    plain = imported(vcf(tmp_path, *ODD_RECORDS), "compiled")
    windows = imported(vcf(tmp_path, *ODD_RECORDS, name="w.vcf", end="\r\n"), "compiled")
    assert calls(plain) == calls(windows)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ("1 100 . A G . . . GT 0/0 0/1 1/1 0/0", "line 10: 4 sample columns where the header names 5"),
        (
            "1 100 . A G . . . GT 0/0 0/1 1/1 0/0 0/0 0/0",
            "line 10: 6 sample columns where the header names 5",
        ),
        ("1 100 . A G . . . GT 0/0 0/1 1/1 0/0 0/2", "line 10: GT '0/2' names allele 2 where ALT has 1"),
        ("1 100 . A G . . . GT 0/0 0/1 1/1 0/0 a/b", "line 10: GT 'a/b' is not a genotype"),
        ("1 100 . A G . . . GT 0/0 0/1 1/1 0/0 ", "line 10: GT '' is not a genotype"),
        ("1 1e5 . A G . . . GT 0/0 0/1 1/1 0/0 0/0", "line 10: POS '1e5' is not a position"),
        ("1 100 . A G;T . . . GT 0/0 0/1 1/1 0/0 0/0", "line 10: ALT"),
        ("1 100 . A", "line 10: 4 columns where 8 are needed"),
    ],
)
def test_a_record_that_cannot_be_taken_is_named(
    tmp_path: Path, engine: Engine, record: str, problem: str
) -> None:
    good = "1 90 . A G . . . GT 0/0 0/1 1/1 0/0 0/0"
    with pytest.raises(InputError) as refused:
        imported(vcf(tmp_path, good, record), engine)
    assert str(refused.value).startswith(f"x.vcf, {problem}")


def test_a_file_without_anybody_or_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no record has an ALT allele and genotypes"):
        imported(vcf(tmp_path, "1 100 . A . . . . GT 0/0 0/0 0/0 0/0 0/0"), "compiled")
    sites = tmp_path / "sites.vcf"
    sites.write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t1\t.\tA\tG\t.\t.\t.\n"
    )
    with pytest.raises(InputError, match=r"sites.vcf: the VCF has no samples"):
        imported(sites, "compiled")


def test_a_file_that_is_cut_or_no_vcf_is_refused(tmp_path: Path, cohort: Cohort) -> None:
    generator = SyntheticCohort(600, 4400, seed=11, missing=0.02, planted=8, linked=5, effect=0.45)
    path = tmp_path / "cohort.vcf.gz"
    write_bgzf(
        path, (piece for piece, _ in zip(generator.vcf_text(cohort.stem), range(200), strict=False)), level=1
    )
    whole = path.read_bytes()
    for name, content, problem in (
        ("cut.vcf.gz", whole[:-2000], "ends inside a BGZF block"),
        ("noise.vcf.gz", whole[:9000] + bytes(60) + whole[9060:], "damaged|no BGZF block"),
        ("text.vcf", b"sample,trait\nS1,2\n", "not a VCF"),
        ("empty.vcf", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=problem):
            imported(tmp_path / name, "compiled")
