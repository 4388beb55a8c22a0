"""Principal components of genotypes, as covariates against population structure.

After Price et al. (2006, doi:10.1038/ng1847): common autosomal variants, thinned evenly and by correlation with their
neighbours, are standardized; missing calls count as the mean. The components are the leading eigenvectors of the
samples' relationship matrix.
"""

from __future__ import annotations

import numpy as np

from genomics_assets.gwas.dataset import GenotypeDataset, haploid_in
from genomics_assets.gwas.genotype_matrix import Bools, Counts, Floats, dosages
from genomics_assets.input_error import InputError

_MOST_VARIANTS = 10_000
_LEAST_FREQUENCY = 0.05
_MOST_CORRELATION = 0.2
_FEWEST_VARIANTS = 50
_BLOCK = 1_000


def principal_components(
    cohort: GenotypeDataset, samples: Bools, variants: Bools, maf: Floats, count: int
) -> Floats:
    """The leading components, float64 of shape (samples, count), NaN for samples that are left out.

    Args:
        cohort: the genotypes.
        samples: bool (samples,), those that passed quality control.
        variants: bool (variants,), likewise.
        maf: float64 (variants,).
        count: how many components.

    Raises:
        InputError: there are too few variants or samples for so many components.
    """
    in_males, in_all = haploid_in(cohort.variants, cohort.build)
    fit = np.flatnonzero(variants & ~in_males & ~in_all & (maf >= _LEAST_FREQUENCY))
    if len(fit) < max(_FEWEST_VARIANTS, count) or samples.sum() <= count + 1:
        raise InputError(
            f"{len(fit):,} common autosomal variants of {int(samples.sum()):,} samples do not make {count} components",
            remedy="set `principal_components: 0` in job.yaml",
        )
    chosen = fit[:: -(-len(fit) // _MOST_VARIANTS)]
    kept = int(samples.sum())
    relationship = np.zeros((kept, kept))
    last: Floats | None = None
    for start in range(0, len(chosen), _BLOCK):
        block, last = _thinned(_standardized(cohort, chosen[start : start + _BLOCK], samples), last)
        relationship += block.T @ block
    _, vectors = np.linalg.eigh(relationship)
    leading = vectors[:, ::-1][:, :count]
    # A component and its negative are the same: the largest entry is made positive.
    leading *= np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(count)])
    components = np.full((len(samples), count), np.nan)
    components[samples] = leading
    return components


def _standardized(cohort: GenotypeDataset, variants: Counts, samples: Bools) -> Floats:
    calls = dosages(cohort.matrix.take(variants), cohort.matrix.samples)[:, samples]
    mean = np.nanmean(calls, axis=1, keepdims=True)
    spread = np.sqrt(mean * (1 - mean / 2))
    return np.asarray(np.nan_to_num((calls - mean) / np.where(spread > 0, spread, 1.0)))


def _thinned(block: Floats, last: Floats | None) -> tuple[Floats, Floats | None]:
    """The variants that are not correlated with the one kept before them."""
    kept = []
    for row in block:
        if last is not None:
            norm = float(np.linalg.norm(row) * np.linalg.norm(last))
            if norm > 0 and (row @ last / norm) ** 2 > _MOST_CORRELATION:
                continue
        kept.append(row)
        last = row
    return np.array(kept).reshape(-1, block.shape[1]), last
