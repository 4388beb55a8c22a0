"""The synthetic reference, read once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES
from genomics_assets.verbal_autopsy.calibration import CalibratedFractions, CalibrationSettings, calibrate
from genomics_assets.verbal_autopsy.hamiltonian import ChainSettings
from genomics_assets.verbal_autopsy.misclassification import (
    AS_DIRICHLET,
    MisclassificationMatrices,
    read_matrices,
)
from genomics_assets.verbal_autopsy.probbase import Probbase, find_probbase, read_probbase
from genomics_assets.verbal_autopsy.reference_file import find_reference
from genomics_assets.verbal_autopsy.synthetic_reference import write_reference


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `GENOMICS_VA_REFERENCE` names one."""
    folder = tmp_path_factory.mktemp("va_reference")
    write_reference(folder)
    return folder


@pytest.fixture(scope="session")
def probbase(reference: Path) -> Probbase:
    return read_probbase(find_probbase(reference))


@pytest.fixture(scope="session")
def matrices(reference: Path) -> MisclassificationMatrices:
    return read_matrices(find_reference(reference, "misclassification"))


@pytest.fixture(scope="session")
def fitted(matrices: MisclassificationMatrices) -> dict[str, CalibratedFractions]:
    """Two algorithms and their ensemble on 400 newborns."""
    return fit(matrices, {"interva": [40, 70, 120, 80, 25, 65], "insilicova": [35, 75, 115, 90, 20, 65]})


@pytest.fixture(scope="session")
def stalled(matrices: MisclassificationMatrices) -> dict[str, CalibratedFractions]:
    """The same, where one algorithm found no congenital malformation at all."""
    return fit(matrices, {"interva": [0, 70, 120, 80, 25, 65], "insilicova": [35, 75, 115, 90, 20, 65]})


def fit(matrices: MisclassificationMatrices, counts: dict[str, list[int]]) -> dict[str, CalibratedFractions]:
    """Calibration by short chains."""
    alphas = {a: matrices.matrix("neonate", a, "Exampleland", AS_DIRICHLET) for a in counts}
    arrays = {a: np.array(values) for a, values in counts.items()}
    settings = CalibrationSettings(chains=ChainSettings(chains=32, warm_up=150, draws=150))
    return calibrate(arrays, alphas, BROAD_CAUSES["neonate"], settings, ensemble=True)
