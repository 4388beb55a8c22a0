"""`job.yaml`: what is to be tested in a dropped dataset, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

AnalysisType = Literal["linear", "logistic", "chi_square", "trend", "genotypic", "fisher"]
Missing = Literal["complete", "mean"]
EngineName = Literal["native", "plink2"]

FOR_BINARY_TRAITS = ("logistic", "chi_square", "trend", "genotypic", "fisher")
_LIMITS: dict[str, tuple[float, float]] = {
    "maf_threshold": (0.0, 0.5),
    "max_missing": (0.0, 1.0),
    "max_sample_missing": (0.0, 1.0),
    "hwe_threshold": (0.0, 1.0),
    "heterozygosity_deviations": (0.0, 1000.0),
    "num_threads": (1, 64),
    "principal_components": (0, 20),
}


@dataclass(frozen=True)
class JobParameters:
    """Thresholds and choices of an analysis.

    Attributes:
        maf_threshold: variants with a rarer minor allele are left out.
        max_missing: variants with more missing calls, as a fraction, are left out.
        max_sample_missing: samples with more missing calls are left out.
        hwe_threshold: variants whose exact test of Hardy-Weinberg equilibrium gives less are left out; 0: none.
        heterozygosity_deviations: samples whose heterozygosity lies further from the median, in robust standard
            deviations, are left out; 0: none.
        principal_components: so many of the genotypes' principal components join the covariates.
        num_threads: threads that test.
        missing: `complete` tests the samples whose call is known, `mean` takes the mean in place of a missing call.
        engine: `plink2` where it is installed.
    """

    maf_threshold: float = 0.01
    max_missing: float = 0.1
    max_sample_missing: float = 0.1
    hwe_threshold: float = 1e-6
    heterozygosity_deviations: float = 5.0
    principal_components: int = 0
    num_threads: int = 2
    missing: Missing = "complete"
    engine: EngineName = "native"


@dataclass(frozen=True)
class JobSettings:
    """What a dropped `job.yaml` says.

    Attributes:
        analysis_type: None is linear for a quantitative and logistic for a binary trait.
        phenotype: a column of phenotypes.csv; None tests each one that is no covariate.
        covariates: columns; None takes every `cov_*` column.
    """

    analysis_type: AnalysisType | None = None
    phenotype: str | None = None
    covariates: list[str] | None = None
    parameters: JobParameters = field(default_factory=JobParameters)

    def analysis_of(self, *, is_binary: bool) -> AnalysisType:
        """The analysis of a trait."""
        return self.analysis_type or ("logistic" if is_binary else "linear")

    def as_document(self) -> dict[str, Any]:
        """The parameters as a job's document keeps them."""
        return asdict(self.parameters)


def read_job_settings(path: Path) -> JobSettings:
    """Read `job.yaml`.

    Raises:
        InputError: with file and line: see `genomics_assets.sidecars.read_sidecar`; or a value is out of its range, or
            a covariate is named twice.
    """
    settings = read_sidecar(path, JobSettings)
    for name, (lowest, highest) in _LIMITS.items():
        value = getattr(settings.parameters, name)
        if not lowest <= value <= highest:
            raise InputError(
                f"parameters.{name} is {value:g}", remedy=f"write {lowest:g} to {highest:g}", file=path.name
            )
    named = settings.covariates or []
    repeated = next((name for name in named if named.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"the covariate {repeated!r} is named twice", remedy="name it once", file=path.name)
    return settings
