"""The sidecar of a batch, `<batch>.yaml`: what is to be done with it.

What decides on the result (job type, algorithm, age group, country) is required and never guessed. The words of the
COMSA dashboard are accepted beside our own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar
from genomics_assets.verbal_autopsy.calibration import CalibrationSettings, Model
from genomics_assets.verbal_autopsy.hamiltonian import ChainSettings
from genomics_assets.verbal_autopsy.insilicova import InSilicoSettings

JobType = Literal["openva_only", "vacalibration", "pipeline"]

ALGORITHMS = ("InterVA", "InSilicoVA", "EAVA")
AGE_GROUPS = ("neonate", "child", "adult")
_JOB_TYPES = {
    "openva_only": "openva_only",
    "openva": "openva_only",
    "vacalibration": "vacalibration",
    "pipeline": "pipeline",
}
_MODELS = {"mmatprior": "Mmatprior", "prior": "Mmatprior", "mmatfixed": "Mmatfixed", "fixed": "Mmatfixed"}
_PREVALENCES = {
    "h": "high",
    "l": "low",
    "v": "very low",
    "high": "high",
    "low": "low",
    "very low": "very low",
}
_CHAINS = ChainSettings().chains


@dataclass(frozen=True)
class BatchSidecar:
    """The keys of the sidecar, as they are written."""

    job_type: str
    algorithm: str | list[str]
    age_group: str
    country: str
    calib_model_type: str = "Mmatprior"
    ensemble: bool = False
    hiv: str = "low"
    malaria: str = "low"
    n_sim: int = 4000
    n_mcmc: int = 9600
    n_burn: int = 300
    n_thin: int = 1
    path_correction: bool = True
    seed: int = 1


@dataclass(frozen=True)
class BatchSettings:
    """What is to be done with a batch, in our own words.

    Attributes:
        job_type: `openva_only` assigns causes, `vacalibration` calibrates causes that were assigned, `pipeline` does both.
        algorithms: one to three of `ALGORITHMS`, each once.
        age_group: one of `AGE_GROUPS`; adults have no calibration.
        country: whose misclassification matrices are meant.
        model: of the calibration.
        ensemble: also fit all algorithms together.
        hiv: how common deaths by HIV/AIDS are, for InterVA; so is `malaria`.
        n_sim: iterations of InSilicoVA.
        n_mcmc: draws that calibration keeps over all chains, at least.
        n_burn: warm-up of each of its chains.
        n_thin: each n-th draw is kept.
        path_correction: whether the misclassification matrix may be drawn to the identity.
        seed: of everything random.
    """

    job_type: JobType
    algorithms: tuple[str, ...]
    age_group: str
    country: str
    model: Model = "Mmatprior"
    ensemble: bool = False
    hiv: Literal["high", "low", "very low"] = "low"
    malaria: Literal["high", "low", "very low"] = "low"
    n_sim: int = 4000
    n_mcmc: int = 9600
    n_burn: int = 300
    n_thin: int = 1
    path_correction: bool = True
    seed: int = 1

    @property
    def assigns(self) -> bool:
        """Whether causes are assigned from symptoms."""
        return self.job_type != "vacalibration"

    @property
    def calibrates(self) -> bool:
        """Whether fractions are calibrated."""
        return self.job_type != "openva_only"

    @property
    def calibration(self) -> CalibrationSettings:
        """For `calibration.calibrate`."""
        chains = ChainSettings(_CHAINS, self.n_burn, -(-self.n_mcmc // _CHAINS), self.n_thin)
        return CalibrationSettings(
            model=self.model, path_correction=self.path_correction, chains=chains, seed=self.seed
        )

    @property
    def insilico(self) -> InSilicoSettings:
        """For `insilicova.assign_causes`: half of the iterations are warm-up, each tenth of the others is kept."""
        return InSilicoSettings(self.n_sim, self.n_sim // 2, 10, self.seed)

    @property
    def phases(self) -> list[str]:
        """What a job does one after the other, in the words of its progress."""
        labels = [name.lower() for name in self.algorithms] + (["ensemble"] if self.ensemble else [])
        return [
            *(f"causes by {name}" for name in self.algorithms if self.assigns),
            *(f"calibration of {label}" for label in labels if self.calibrates),
        ]

    def in_country(self, country: str) -> BatchSettings:
        """The same for another country's matrices."""
        return replace(self, country=country)

    def as_params(self) -> dict[str, Any]:
        """All of it, as the ledger of jobs keeps it."""
        return {**vars(self), "algorithms": list(self.algorithms)}


def read_batch_settings(path: Path | None, batch: str) -> BatchSettings:
    """Read the sidecar of a batch.

    Args:
        path: None where there is no sidecar.
        batch: the file's name as it was dropped, for the error.

    Raises:
        InputError: no sidecar, see `genomics_assets.sidecars.read_sidecar`, or see `batch_settings`.
    """
    if path is None:
        raise InputError(
            "no sidecar says what is to be done with it",
            remedy="drop a .yaml of the same name with job_type, algorithm, age_group and country beside it",
            file=batch,
        )
    sidecar = read_sidecar(path, BatchSidecar)
    try:
        return batch_settings(sidecar)
    except InputError as error:
        raise error.in_file(path.name) from None


def batch_settings(sidecar: BatchSidecar) -> BatchSettings:
    """The settings that a sidecar means.

    Raises:
        InputError: a word that is not known, with the nearest one that is; or settings that contradict one another.

    >>> batch_settings(BatchSidecar("openva", "interva", "Neonate", "Mozambique")).algorithms
    ('InterVA',)
    """
    if sidecar.job_type.lower() == "ensemble":
        raise InputError(
            "job_type is 'ensemble', which is a setting of its own",
            remedy="write job_type: pipeline and ensemble: true",
        )
    settings = BatchSettings(
        job_type=cast(JobType, _choice("job_type", sidecar.job_type, _JOB_TYPES)),
        algorithms=_algorithms(sidecar.algorithm),
        age_group=_choice("age_group", sidecar.age_group, {age: age for age in AGE_GROUPS}),
        country=" ".join(sidecar.country.split()),
        model=cast(Model, _choice("calib_model_type", sidecar.calib_model_type, _MODELS)),
        ensemble=sidecar.ensemble,
        hiv=cast(Any, _choice("hiv", sidecar.hiv, _PREVALENCES)),
        malaria=cast(Any, _choice("malaria", sidecar.malaria, _PREVALENCES)),
        n_sim=sidecar.n_sim,
        n_mcmc=sidecar.n_mcmc,
        n_burn=sidecar.n_burn,
        n_thin=sidecar.n_thin,
        path_correction=sidecar.path_correction,
        seed=sidecar.seed,
    )
    _check(settings)
    return settings


def _algorithms(told: str | Sequence[str]) -> tuple[str, ...]:
    names = [told] if isinstance(told, str) else list(told)
    if not names:
        raise InputError("algorithm is an empty list", remedy=f"name one to three of {', '.join(ALGORITHMS)}")
    known = {name.lower(): name for name in ALGORITHMS}
    found = [_choice("algorithm", name, known) for name in names]
    return tuple(dict.fromkeys(found))


def _choice(key: str, told: str, known: Mapping[str, str]) -> str:
    word = " ".join(told.replace("_", " ").split()).lower()
    folded = {name.replace("_", " "): value for name, value in known.items()}
    if word in folded:
        return folded[word]
    near = difflib.get_close_matches(word, list(folded), 1)
    choices = ", ".join(dict.fromkeys(known.values()))
    raise InputError(
        f"{key} is {told[:40]!r}",
        remedy=(f"write {folded[near[0]]!r}; " if near else "") + f"the choices are {choices}",
    )


def _check(settings: BatchSettings) -> None:
    if settings.ensemble and len(settings.algorithms) < 2:
        raise InputError(
            "ensemble is true, and there is one algorithm", remedy="name two or three, or leave ensemble out"
        )
    if settings.age_group == "adult" and (settings.calibrates or "EAVA" in settings.algorithms):
        raise InputError(
            "age_group is 'adult', for which there are neither expert rules nor calibration",
            remedy="write job_type: openva_only with InterVA or InSilicoVA",
        )
    least = {"n_sim": 20, "n_mcmc": 1000, "n_burn": 50, "n_thin": 1}
    for key, smallest in least.items():
        if getattr(settings, key) < smallest:
            raise InputError(
                f"{key} is {getattr(settings, key)}", remedy=f"write a whole number of at least {smallest}"
            )
