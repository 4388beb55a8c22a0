"""PLINK 1 filesets: .bed with .bim and .fam (https://www.cog-genomics.org/plink/1.9/formats).

A1, the fifth column of the .bim, is the effect allele and ALT; A2 is REF.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genomics_assets.gwas.dataset import (
    FEMALE,
    GENOTYPES,
    MALE,
    SEX_UNKNOWN,
    GenotypeDataset,
    chromosome_name,
    guess_build,
    sample_table,
    variant_schema,
    write_tables,
)
from genomics_assets.gwas.genotype_matrix import MAGIC, GenotypeMatrix, row_bytes
from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_MAJOR = b"\x6c\x1b\x00"
_BIM_COLUMNS, _FAM_COLUMNS = 6, 6
_SEXES = {"1": MALE, "2": FEMALE}
_EXPORT_AGAIN = "write the fileset again (`plink2 --make-bed`) and drop all three files"


def import_plink(bed: Path, bim: Path, fam: Path, folder: Path) -> GenotypeDataset:
    """Bring a fileset into canonical form, in `folder`.

    Raises:
        InputError: see `read_plink`.
    """
    dataset = read_plink(bed, bim, fam)
    shutil.copyfile(bed, folder / GENOTYPES)
    matrix = GenotypeMatrix(folder / GENOTYPES, dataset.matrix.variants, dataset.matrix.samples)
    moved = GenotypeDataset(matrix, dataset.variants, dataset.samples, dataset.build)
    write_tables(moved, folder)
    return moved


def read_plink(bed: Path, bim: Path, fam: Path) -> GenotypeDataset:
    """A fileset as it lies; its .bed is in canonical form already.

    Raises:
        InputError: the .bed has another magic number or another size than .bim and .fam call for, a line has too few
            columns, a position is no number, or two samples have one id.
    """
    variants, samples = read_bim(bim), read_fam(fam)
    check_bed(bed, variants=variants.num_rows, samples=samples.num_rows)
    matrix = GenotypeMatrix(bed, variants.num_rows, samples.num_rows)
    return GenotypeDataset(matrix, variants, samples, guess_build(variants))


def check_bed(bed: Path, *, variants: int, samples: int) -> None:
    """Check that a .bed is SNP-major and holds so many variants and samples.

    Raises:
        InputError: it is not or does not.
    """
    with bed.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic == _SAMPLE_MAJOR:
        raise InputError(
            "the .bed is in sample-major order",
            remedy="write it again with PLINK 1.07 or later",
            file=bed.name,
        )
    if magic != MAGIC:
        raise InputError("not a PLINK .bed: bad magic number", remedy=_EXPORT_AGAIN, file=bed.name)
    size, width = bed.stat().st_size, row_bytes(samples)
    expected = len(MAGIC) + variants * width
    if size != expected:
        raise InputError(
            f"{size:,} bytes where the .bim's {variants:,} variants and the .fam's {samples:,} samples "
            f"make {expected:,}",
            remedy=_EXPORT_AGAIN,
            file=bed.name,
        )


def read_bim(bim: Path) -> pa.Table:
    """The variants of a .bim, a table of `dataset.variant_schema`; alleles in upper case.

    Raises:
        InputError: with the line: too few columns, or a position that is no whole number.
    """
    import pyarrow as pa

    columns: tuple[list[str], ...] = ([], [], [], [], [])
    names, chromosomes, positions, a1s, a2s = columns
    known: dict[str, str] = {}
    for number, fields in _lines(bim, _BIM_COLUMNS, "a .bim line"):
        chromosome, name, _, position, a1, a2 = fields[:6]
        if chromosome not in known:
            known[chromosome] = chromosome_name(chromosome)
        chromosomes.append(known[chromosome])
        names.append(name)
        positions.append(position)
        a1s.append(a1.upper())
        a2s.append(a2.upper())
        if not position.isdecimal():
            raise InputError(
                "the position is no whole number", remedy=_EXPORT_AGAIN, file=bim.name, line=number
            )
    if not names:
        raise InputError("no variants", remedy=_EXPORT_AGAIN, file=bim.name)
    where = [f"{c}:{p}:{r}:{a}" if n == "." else n
             for n, c, p, r, a in zip(names, chromosomes, positions, a2s, a1s, strict=True)]  # fmt: skip
    arrays = [
        pa.array(where),
        pa.array(chromosomes).dictionary_encode(),
        pa.array([int(position) for position in positions], pa.int64()),
        pa.array(a2s),
        pa.array(a1s),
    ]
    return pa.Table.from_arrays(arrays, schema=variant_schema())


def read_fam(fam: Path) -> pa.Table:
    """The samples of a .fam, a table of `dataset.sample_schema`; the within-family id is the sample's.

    Raises:
        InputError: with the line: too few columns, or an id that another line has too.
    """
    ids: list[str] = []
    families: list[str] = []
    sex: list[int] = []
    seen: dict[str, int] = {}
    for number, fields in _lines(fam, _FAM_COLUMNS, "a .fam line"):
        family, sample, _, _, sex_code = fields[:5]
        if sample in seen:
            # The id stays out of the message: it may be a person's.
            raise InputError(
                f"the sample id of this line is also that of line {seen[sample]}",
                remedy="give each sample an id of its own in column 2 (`plink2 --update-ids`)",
                file=fam.name,
                line=number,
            )
        seen[sample] = number
        ids.append(sample)
        families.append(family)
        sex.append(_SEXES.get(sex_code, SEX_UNKNOWN))
    if not ids:
        raise InputError("no samples", remedy=_EXPORT_AGAIN, file=fam.name)
    return sample_table(ids, families, sex)


def _lines(path: Path, columns: int, what: str) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        for number, line in enumerate(file, 1):
            fields = line.split()
            if len(fields) >= columns:
                yield number, fields
            elif fields:
                raise InputError(
                    f"{what} of {len(fields)} columns, {columns} are needed",
                    remedy=_EXPORT_AGAIN,
                    file=path.name,
                    line=number,
                )
