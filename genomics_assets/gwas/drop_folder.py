"""What lies in a dropped dataset's folder: genotypes in one of their forms, phenotypes, and perhaps a job.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genomics_assets.gwas.dataset import GenotypeDataset
from genomics_assets.gwas.job_settings import JobSettings, read_job_settings
from genomics_assets.gwas.phenotypes import PhenotypeTable, read_phenotypes
from genomics_assets.input_error import InputError

PHENOTYPES, JOB = "phenotypes.csv", "job.yaml"
VCF_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz")
GENOTYPE_ENDINGS = (*VCF_ENDINGS, ".bcf", ".bed")
FileType = Literal["vcf", "bcf", "plink"]


@dataclass(frozen=True)
class DropFolder:
    """The files of a dataset.

    Attributes:
        genotypes: the VCF or BCF; or .bed, .bim and .fam.
        file_type: which of these.
        phenotypes: phenotypes.csv.
        job: job.yaml, where there is one.
        unused: names of other files.
    """

    genotypes: tuple[Path, ...]
    file_type: FileType
    phenotypes: Path
    job: Path | None
    unused: tuple[str, ...]

    @property
    def raw(self) -> list[Path]:
        """Every file that is used, genotypes first."""
        return [*self.genotypes, self.phenotypes, *([self.job] if self.job else [])]

    def settings(self) -> JobSettings:
        """What job.yaml says, or the defaults.

        Raises:
            InputError: see `read_job_settings`.
        """
        return read_job_settings(self.job) if self.job else JobSettings()

    def table(self) -> PhenotypeTable:
        """The phenotypes.

        Raises:
            InputError: see `read_phenotypes`.
        """
        return read_phenotypes(self.phenotypes)

    def bring_into_form(self, folder: Path) -> GenotypeDataset:
        """Make the canonical form in `folder`.

        Raises:
            InputError: see `import_vcf` and `import_plink`.
        """
        if self.file_type == "plink":
            from genomics_assets.gwas.plink_files import import_plink

            bed, bim, fam = self.genotypes
            return import_plink(bed, bim, fam, folder)
        from genomics_assets.gwas.vcf_genotypes import import_vcf

        return import_vcf(self.genotypes[0], folder)


def sort_files(files: Sequence[Path]) -> DropFolder:
    """Tell the files of a dataset apart by their names.

    Raises:
        InputError: no genotypes or more than one file of them, a .bed without .bim and .fam, or no phenotypes.csv.
    """
    by_name = {file.name.lower(): file for file in files}
    vcfs = [file for name, file in by_name.items() if name.endswith((*VCF_ENDINGS, ".bcf"))]
    beds = [file for name, file in by_name.items() if name.endswith(".bed")]
    if len(vcfs) + len(beds) != 1:
        found = ", ".join(sorted(file.name for file in vcfs + beds))
        raise InputError(
            f"{len(vcfs) + len(beds)} files of genotypes" + (f" ({found})" if found else ""),
            remedy="drop one VCF or BCF, or one .bed with .bim and .fam, in each dataset's folder",
        )
    genotypes = tuple(vcfs) or _fileset(beds[0], by_name)
    if PHENOTYPES not in by_name:
        raise InputError(
            f"no {PHENOTYPES}",
            remedy="drop one beside the genotypes: first column the sample id, then phenotypes",
        )
    job = by_name.get(JOB)
    used = {*genotypes, by_name[PHENOTYPES], job}
    return DropFolder(
        genotypes=genotypes,
        file_type="plink" if beds else "bcf" if genotypes[0].name.lower().endswith(".bcf") else "vcf",
        phenotypes=by_name[PHENOTYPES],
        job=job,
        unused=tuple(sorted(file.name for file in files if file not in used)),
    )


def _fileset(bed: Path, by_name: dict[str, Path]) -> tuple[Path, ...]:
    stem = bed.name[: -len(".bed")].lower()
    missing = [ending for ending in (".bim", ".fam") if stem + ending not in by_name]
    if missing:
        raise InputError(
            f"no {' and no '.join(missing)} of the same name",
            remedy="drop all three files of the set",
            file=bed.name,
        )
    return bed, by_name[f"{stem}.bim"], by_name[f"{stem}.fam"]
