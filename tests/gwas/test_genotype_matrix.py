from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genomics_assets.gwas.genotype_matrix import (
    CallSums,
    MatrixWriter,
    count_calls,
    dosages,
    pack,
    sample_mask,
    unpack,
)


def codes(variants: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).integers(0, 4, (variants, samples)).astype(np.uint8)


@pytest.mark.parametrize("samples", [1, 4, 5, 31, 33, 1000])
def test_calls_come_back_as_they_were_packed(samples: int) -> None:
    given = codes(7, samples)
    assert np.array_equal(unpack(pack(given), samples), given)


@pytest.mark.parametrize("samples", [1, 5, 33, 257])
def test_calls_are_counted_among_the_chosen_samples_alone(samples: int) -> None:
    given = codes(50, samples)
    chosen = np.random.default_rng(1).random(samples) < 0.6
    counts = count_calls(pack(given), sample_mask(chosen))
    for code, counted in ((0, counts.two), (1, counts.missing), (2, counts.one), (3, counts.none)):
        assert np.array_equal(counted, (given[:, chosen] == code).sum(axis=1))
    assert np.array_equal(counts.copies, np.nansum(dosages(pack(given), samples)[:, chosen], axis=1))


@pytest.mark.parametrize(("variants", "samples"), [(1, 1), (14, 5), (700, 33), (1003, 6)])
def test_calls_of_each_sample_are_summed_over_blocks(variants: int, samples: int) -> None:
    given = codes(variants, samples)
    sums = CallSums(samples)
    for start in range(0, variants, 400):
        sums.add(pack(given[start : start + 400]))
    assert np.array_equal(sums.missing, (given == 1).sum(axis=0))
    assert np.array_equal(sums.one, (given == 2).sum(axis=0))
    assert sums.variants == variants


def test_a_matrix_reads_the_rows_that_were_written(tmp_path: Path) -> None:
    given = pack(codes(10, 9))
    with MatrixWriter(tmp_path / "x.bed", 9) as writer:
        writer.append(given[:4])
        writer.append(given[4:])
    matrix = writer.matrix
    assert matrix.variants == 10
    assert np.array_equal(matrix.rows(2, 7), given[2:7])
    assert np.array_equal(matrix.take(np.array([9, 0])), given[[9, 0]])
    assert [start for start, _ in matrix.blocks(4)] == [0, 4, 8]
    with pytest.raises(OSError, match="ends before genotype row 11"):
        matrix.rows(5, 11)
