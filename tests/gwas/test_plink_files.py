from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cohort_harness import Cohort

from genomics_assets.gwas.dataset import read_dataset
from genomics_assets.gwas.genotype_matrix import MAGIC
from genomics_assets.gwas.plink_files import import_plink, read_plink
from genomics_assets.input_error import InputError

BIM = "1\trs1\t0\t100\tG\tA\n23\trs2\t0\t200\tC\tT\n25\t.\t0\t300\tt\tc\n26 rs4 0 400 I D\nGL000220.1\trs5\t0\t500\tA\tC\n"
FAM = "F1 S1 0 0 1 -9\nF2 S2 0 0 2 -9\nF3 S3 0 0 0 -9\n"


def fileset(
    folder: Path, *, bed: bytes | None = None, bim: str = BIM, fam: str = FAM
) -> tuple[Path, Path, Path]:
    paths = folder / "x.bed", folder / "x.bim", folder / "x.fam"
    paths[0].write_bytes(MAGIC + bytes([0b00_10_01_00] * 5) if bed is None else bed)
    paths[1].write_text(bim)
    paths[2].write_text(fam)
    return paths


def test_the_first_allele_of_the_bim_is_the_effect_allele(tmp_path: Path) -> None:
    dataset = read_plink(*fileset(tmp_path))
    first = dataset.variants.to_pylist()[0]
    assert (first["alt_allele"], first["ref_allele"]) == ("G", "A")
    assert dataset.matrix.rows(0, 1)[0, 0] & 3 == 0  # S1 has two copies of A1


def test_contigs_have_the_names_of_the_warehouse(tmp_path: Path) -> None:
    dataset = read_plink(*fileset(tmp_path))
    assert dataset.variants["chromosome"].to_pylist() == ["chr1", "chrX", "chrX", "chrM", "GL000220.1"]
    assert dataset.chromosomes == ["chr1", "chrX", "chrM", "GL000220.1"]
    assert dataset.variants["rsid"][2].as_py() == "chrX:300:C:T"
    assert dataset.sex.tolist() == [1, 2, 0]


def test_a_fileset_in_canonical_form_is_the_same_cohort(cohort: Cohort, tmp_path: Path) -> None:
    paths = [cohort.stem.with_suffix(ending) for ending in (".bed", ".bim", ".fam")]
    import_plink(paths[0], paths[1], paths[2], tmp_path)
    again = read_dataset(tmp_path)
    assert again.variants.equals(cohort.dataset.variants)
    assert again.samples.equals(cohort.dataset.samples)
    assert np.array_equal(again.matrix.rows(0, 4400), cohort.dataset.matrix.rows(0, 4400))


def test_the_build_is_told_by_positions_that_only_one_assembly_reaches(tmp_path: Path) -> None:
    # chr17 has 83,257,441 bases in GRCh38 and 81,195,210 in GRCh37; chr1 is longer in GRCh37.
    for line, build in (
        ("17 rs1 0 82000000 A G\n", "GRCh38"),
        ("1 rs1 0 249000000 A G\n", "GRCh37"),
        ("1 rs1 0 5000 A G\n", None),
        ("scaffold_1 rs1 0 5000 A G\n", None),
    ):
        folder = tmp_path / f"b{build}{line[0]}"
        folder.mkdir()
        assert read_plink(*fileset(folder, bed=MAGIC + b"\0", bim=line)).build == build


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bed": b"\x6c\x1b\x02" + bytes(5)}, "x.bed: not a PLINK .bed: bad magic number"),
        ({"bed": b""}, "x.bed: not a PLINK .bed: bad magic number"),
        ({"bed": b"\x6c\x1b\x00" + bytes(5)}, "x.bed: the .bed is in sample-major order"),
        (
            {"bed": MAGIC + bytes(4)},
            "x.bed: 7 bytes where the .bim's 5 variants and the .fam's 3 samples make 8",
        ),
        (
            {"bed": MAGIC + bytes(6)},
            "x.bed: 9 bytes where the .bim's 5 variants and the .fam's 3 samples make 8",
        ),
        ({"bim": BIM[: BIM.index("GL")]}, "x.bed: 8 bytes where the .bim's 4 variants"),
        (
            {"fam": FAM + "F4 S4 0 0 0 0\nF5 S5 0 0 0 0\n"},
            "x.bed: 8 bytes where .* the .fam's 5 samples make 13",
        ),
        (
            {"fam": FAM + "F4 S1 0 0 0 0\n"},
            "x.fam, line 4: the sample id of this line is also that of line 1",
        ),
        ({"fam": "F1 S1 0\n"}, "x.fam, line 1: a .fam line of 3 columns, 6 are needed"),
        ({"fam": ""}, "x.fam: no samples"),
        ({"bim": ""}, "x.bim: no variants"),
        ({"bim": "1 rs1 0 12a A G\n"}, "x.bim, line 1: the position is no whole number"),
        ({"bim": "1 rs1 100 A G\n"}, "x.bim, line 1: a .bim line of 5 columns, 6 are needed"),
    ],
)
def test_a_fileset_that_does_not_fit_together_is_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        read_plink(*fileset(tmp_path, **change))  # type: ignore[arg-type]
    assert "Remedy:" in str(refused.value)
    assert "S1" not in str(refused.value)


def test_a_processed_dataset_that_is_not_whole_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    paths = [cohort.stem.with_suffix(ending) for ending in (".bed", ".bim", ".fam")]
    import_plink(paths[0], paths[1], paths[2], tmp_path)
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path, cut)
    with (cut / "genotypes.bed").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match=r"genotypes.bed: the processed genotypes are not of 4,400 variants"):
        read_dataset(cut)
    (cut / "samples.parquet").unlink()
    with pytest.raises(InputError, match=r"samples.parquet: the processed dataset is not whole"):
        read_dataset(cut)
