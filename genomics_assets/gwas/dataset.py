"""A cohort in its canonical form: a matrix of two-bit calls, a table of variants and a table of samples.

The three files of a folder, `genotypes.bed`, `variants.parquet` and `samples.parquet`, are all that association reads.
The effect allele is `alt_allele` throughout: A1 of a PLINK file, ALT of a VCF.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genomics_assets.gwas.genotype_matrix import MAGIC, Bools, GenotypeMatrix, row_bytes
from genomics_assets.input_error import InputError
from genomics_assets.variants.record import canonical_contig
from genomics_assets.variants.summary import chromosome_order

if TYPE_CHECKING:
    import pyarrow as pa

GENOTYPES, VARIANTS, SAMPLES = "genotypes.bed", "variants.parquet", "samples.parquet"
SEX_UNKNOWN, MALE, FEMALE = 0, 1, 2
# What PLINK calls the contigs beyond 22, the pseudo-autosomal regions among them.
_PLINK_NUMBERS = {
    "23": "chrX",
    "24": "chrY",
    "25": "chrX",
    "26": "chrM",
    "XY": "chrX",
    "PAR1": "chrX",
    "PAR2": "chrX",
}
# Chromosomes are numbers in documents and in GWAS-SSF: 1 to 22, 23 X, 24 Y, 25 mitochondrial.
_NUMBERS = {f"chr{number}": number for number in range(1, 23)} | {"chrX": 23, "chrY": 24, "chrM": 25}
# The pseudo-autosomal regions of chrX, 1-based and closed (Genome Reference Consortium).
_PSEUDO_AUTOSOMAL = {
    "GRCh38": ((10_001, 2_781_479), (155_701_383, 156_030_895)),
    "GRCh37": ((60_001, 2_699_520), (154_931_044, 155_260_560)),
}
# Places of the last known base of each chromosome, by assembly; a variant beyond one rules the assembly out.
_LENGTHS = {
    "GRCh38": {
        "chr1": 248_956_422, "chr2": 242_193_529, "chr3": 198_295_559, "chr4": 190_214_555, "chr5": 181_538_259,
        "chr6": 170_805_979, "chr7": 159_345_973, "chr8": 145_138_636, "chr9": 138_394_717, "chr10": 133_797_422,
        "chr11": 135_086_622, "chr12": 133_275_309, "chr13": 114_364_328, "chr14": 107_043_718, "chr15": 101_991_189,
        "chr16": 90_338_345, "chr17": 83_257_441, "chr18": 80_373_285, "chr19": 58_617_616, "chr20": 64_444_167,
        "chr21": 46_709_983, "chr22": 50_818_468, "chrX": 156_040_895, "chrY": 57_227_415, "chrM": 16_569,
    },
    "GRCh37": {
        "chr1": 249_250_621, "chr2": 243_199_373, "chr3": 198_022_430, "chr4": 191_154_276, "chr5": 180_915_260,
        "chr6": 171_115_067, "chr7": 159_138_663, "chr8": 146_364_022, "chr9": 141_213_431, "chr10": 135_534_747,
        "chr11": 135_006_516, "chr12": 133_851_895, "chr13": 115_169_878, "chr14": 107_349_540, "chr15": 102_531_392,
        "chr16": 90_354_753, "chr17": 81_195_210, "chr18": 78_077_248, "chr19": 59_128_983, "chr20": 63_025_520,
        "chr21": 48_129_895, "chr22": 51_304_566, "chrX": 155_270_560, "chrY": 59_373_566, "chrM": 16_571,
    },
}  # fmt: skip


@dataclass(frozen=True)
class GenotypeDataset:
    """Genotypes with what their rows and columns stand for.

    Attributes:
        matrix: the calls.
        variants: rsid, chromosome, position, ref_allele, alt_allele; one row for each row of the matrix.
        samples: sample_id, family_id, sex (0 unknown, 1 male, 2 female); one row for each call of a matrix row.
        build: GRCh38, GRCh37 or T2T-CHM13; None where nothing tells.
        skipped: records of the source that gave no row, by reason.
        noted: what was tolerated in the source, by reason.
    """

    matrix: GenotypeMatrix
    variants: pa.Table
    samples: pa.Table
    build: str | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)

    @property
    def chromosomes(self) -> list[str]:
        """Names of the contigs that have variants, in their natural order."""
        import pyarrow.compute as pc

        return sorted(pc.unique(self.variants["chromosome"]).to_pylist(), key=chromosome_order)

    @property
    def sex(self) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        """0 unknown, 1 male, 2 female; int8 of shape (samples,)."""
        return np.asarray(self.samples["sex"].to_numpy(), dtype=np.int8)


@cache
def variant_schema() -> pa.Schema:
    """Arrow schema of `variants.parquet`."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("rsid", pa.string(), nullable=False),
            pa.field("chromosome", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            pa.field("ref_allele", pa.string(), nullable=False),
            pa.field("alt_allele", pa.string(), nullable=False),
        ]
    )


@cache
def sample_schema() -> pa.Schema:
    """Arrow schema of `samples.parquet`."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("family_id", pa.string(), nullable=False),
            pa.field("sex", pa.int8(), nullable=False),
        ]
    )


def sample_table(ids: Sequence[str], families: Sequence[str], sex: Sequence[int]) -> pa.Table:
    """A table of `sample_schema`."""
    import pyarrow as pa

    arrays = [
        pa.array(column, each.type)
        for column, each in zip((ids, families, sex), sample_schema(), strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=sample_schema())


def chromosome_name(written: str) -> str:
    """The canonical name of a contig; PLINK's numbers of X, Y, the pseudo-autosomal regions and MT are known.

    >>> [chromosome_name(name) for name in ("7", "chr7", "23", "XY", "26", "MT", "GL000220.1")]
    ['chr7', 'chr7', 'chrX', 'chrX', 'chrM', 'chrM', 'GL000220.1']
    """
    return canonical_contig(written) or _PLINK_NUMBERS.get(written, written)


def chromosome_number(name: str) -> int | None:
    """The number of a canonical chromosome in documents and in GWAS-SSF; None for any other contig.

    >>> [chromosome_number(name) for name in ("chr7", "chrX", "chrM", "GL000220.1")]
    [7, 23, 25, None]
    """
    return _NUMBERS.get(name)


def haploid_in(variants: pa.Table, build: str | None) -> tuple[Bools, Bools]:
    """Which variants are haploid in males alone, and which in everybody; two arrays of shape (variants,).

    Outside the pseudo-autosomal regions of `build`, chrX is haploid in males; chrY and chrM are haploid throughout.
    """
    import pyarrow.compute as pc

    names = variants["chromosome"].cast("string")
    in_males = pc.equal(names, "chrX").to_numpy(zero_copy_only=False).copy()
    in_all = pc.is_in(names, value_set=_strings("chrY", "chrM")).to_numpy(zero_copy_only=False).copy()
    if in_males.any():
        position = variants["position"].to_numpy()
        for first, last in _PSEUDO_AUTOSOMAL.get(build or "", ()):
            in_males &= ~((position >= first) & (position <= last))
    return in_males, in_all


def _strings(*names: str) -> pa.Array:
    import pyarrow as pa

    return pa.array(names, pa.string())


def guess_build(variants: pa.Table) -> str | None:
    """The one human assembly whose chromosomes are long enough for every position; None where two or none are."""
    import pyarrow.compute as pc

    longest = variants.group_by("chromosome").aggregate([("position", "max")])
    last = dict(
        zip(
            longest["chromosome"].cast("string").to_pylist(), longest["position_max"].to_pylist(), strict=True
        )
    )
    fitting = [
        build
        for build, lengths in _LENGTHS.items()
        if all(position <= lengths.get(name, position) for name, position in last.items())
    ]
    known = any(name in _LENGTHS["GRCh38"] for name in last)
    return fitting[0] if known and len(fitting) == 1 and pc.max(variants["position"]).as_py() else None


def write_tables(dataset: GenotypeDataset, folder: Path) -> None:
    """Write the tables of variants and samples beside the matrix, which must lie in `folder` already."""
    import pyarrow.parquet as pq

    told = {"build": dataset.build, "skipped": dataset.skipped, "noted": dataset.noted}
    variants = dataset.variants.replace_schema_metadata({"genomics_assets": json.dumps(told)})
    pq.write_table(variants, folder / VARIANTS, compression="zstd")
    pq.write_table(dataset.samples, folder / SAMPLES, compression="zstd")


def read_dataset(folder: Path) -> GenotypeDataset:
    """Read a cohort in its canonical form.

    Raises:
        InputError: one of the three files is missing, or their sizes disagree.
    """
    import pyarrow.parquet as pq

    for name in (GENOTYPES, VARIANTS, SAMPLES):
        if not (folder / name).is_file():
            raise InputError("the processed dataset is not whole", remedy="materialize it again", file=name)
    variants = pq.read_table(folder / VARIANTS)
    samples = pq.read_table(folder / SAMPLES)
    expected = len(MAGIC) + variants.num_rows * row_bytes(samples.num_rows)
    if (folder / GENOTYPES).stat().st_size != expected:
        raise InputError(
            f"the processed genotypes are not of {variants.num_rows:,} variants by {samples.num_rows:,} samples",
            remedy="materialize the dataset again",
            file=GENOTYPES,
        )
    told = json.loads((variants.schema.metadata or {}).get(b"genomics_assets", b"{}"))
    matrix = GenotypeMatrix(folder / GENOTYPES, variants.num_rows, samples.num_rows)
    return GenotypeDataset(
        matrix, variants, samples, told.get("build"), told.get("skipped", {}), told.get("noted", {})
    )
