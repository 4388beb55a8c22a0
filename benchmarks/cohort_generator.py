"""A made-up cohort with planted effects: what the bundled example, the tests and the benchmarks are made of.

Genotypes come from two populations that drifted apart by Fst 0.01 (Balding and Nichols 1995, doi:10.1007/BF01441146),
in blocks of linked variants; a quantitative trait and the liability of a binary one follow age, sex, population and
the planted variants. The same seed gives the same cohort.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genomics_assets.gwas.genotype_matrix import (
    MISSING,
    NO_COPY,
    ONE_COPY,
    TWO_COPIES,
    MatrixWriter,
    pack,
    unpack,
)

_BLOCK = 10_000
_FIRST = 10_000
_FST = 0.01
_BASES = "ACGT"
_CODE_OF_COPIES = np.array([NO_COPY, ONE_COPY, TWO_COPIES], dtype=np.uint8)
_CALL_TEXT = np.array([b"1/1", b"./.", b"0/1", b"0/0"])

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Planted:
    """A variant with an effect, its name and what a copy adds to the trait."""

    rsid: str
    variant: int
    effect: float
    frequency: float


@dataclass(frozen=True)
class SyntheticCohort:
    """A cohort that can be written in several forms.

    Args:
        samples: how many.
        variants: how many, spread evenly over chr1 to chr22.
        seed: of everything.
        missing: fraction of calls that are missing.
        planted: how many variants have an effect.
        linked: how many neighbouring variants are copies of one, with a few calls changed.
        effect: least size of a planted effect, in standard deviations of the noise for each copy; the largest is twice
            it.
        spacing: bases from one variant to the next.
    """

    samples: int
    variants: int
    seed: int = 1
    missing: float = 0.01
    planted: int = 20
    linked: int = 1
    effect: float = 0.3
    spacing: int = 1_000

    def write_plink(self, stem: Path) -> list[Planted]:
        """Write `<stem>.bed`, `.bim`, `.fam` and, beside them, `phenotypes.csv`; returns what was planted."""
        liability = np.zeros(self.samples)
        planted = {each.variant: each for each in self.effects()}
        with MatrixWriter(stem.with_suffix(".bed"), self.samples) as writer:
            for start, copies in self._copies():
                for variant in range(start, start + len(copies)):
                    if variant in planted:
                        each = planted[variant]
                        liability += each.effect * (copies[variant - start] - 2 * each.frequency)
                writer.append(pack(self._codes(start, copies)))
        self._write_names(stem)
        self._write_phenotypes(stem.parent / "phenotypes.csv", liability)
        return list(planted.values())

    def vcf_text(self, stem: Path) -> Iterator[bytes]:
        """The genotypes of a fileset that `write_plink` made as VCF text, piece by piece."""
        yield _vcf_header([self._sample(i) for i in range(self.samples)])
        rows = np.fromfile(stem.with_suffix(".bed"), dtype=np.uint8, offset=3).reshape(self.variants, -1)
        for (chromosome, position, name, ref, alt), row in zip(self._sites(), rows, strict=True):
            calls = b"\t".join(_CALL_TEXT[unpack(row[None, :], self.samples)[0]].tolist())
            yield f"{chromosome}\t{position}\t{name}\t{ref}\t{alt}\t.\tPASS\t.\tGT\t".encode() + calls + b"\n"

    def effects(self) -> list[Planted]:
        """The variants that have an effect: common ones, far from one another."""
        random = np.random.default_rng([self.seed, 1])
        frequency = self._frequencies()
        leaders = np.flatnonzero((frequency > 0.15) & (np.arange(self.variants) % self.linked == 0))
        chosen = np.sort(leaders[np.linspace(0, len(leaders) - 1, self.planted).astype(int)])
        sizes = random.choice([-1.0, 1.0], self.planted) * random.uniform(1, 2, self.planted) * self.effect
        return [
            Planted(self._name(int(variant)), int(variant), float(size), float(frequency[variant]))
            for variant, size in zip(chosen, sizes, strict=True)
        ]

    def _frequencies(self) -> Floats:
        random = np.random.default_rng([self.seed, 2])
        drawn = np.clip(random.beta(0.8, 2.5, self.variants) * 0.5 + 0.02, 0.02, 0.5)
        return np.asarray(drawn[np.arange(self.variants) // self.linked * self.linked])

    def _population(self) -> npt.NDArray[np.bool_]:
        return np.asarray(np.random.default_rng([self.seed, 3]).random(self.samples) < 0.4)

    def _copies(self) -> Iterator[tuple[int, npt.NDArray[np.int8]]]:
        """Copies of the effect allele, int8 (variants, samples), block by block."""
        frequency, second = self._frequencies(), self._population()
        size = max(_BLOCK // self.linked, 1) * self.linked
        for start in range(0, self.variants, size):
            random = np.random.default_rng([self.seed, 4, start])
            here = frequency[start : start + size : self.linked]
            drift = [random.beta(here * (1 - _FST) / _FST, (1 - here) * (1 - _FST) / _FST) for _ in range(2)]
            chance = np.where(second, drift[1][:, None], drift[0][:, None]).astype(np.float32)
            copies = np.zeros((len(here), self.samples), dtype=np.int8)
            for _ in range(2):
                copies += random.random(chance.shape, dtype=np.float32) < chance
            if self.linked > 1:
                copies = np.repeat(copies, self.linked, axis=0)[: self.variants - start]
                redrawn = random.random(copies.shape, dtype=np.float32) < 0.15
                redrawn[:: self.linked] = False
                copies[redrawn] = random.permutation(copies[redrawn])
            yield start, copies

    def _codes(self, start: int, copies: npt.NDArray[np.int8]) -> Bytes:
        codes = _CODE_OF_COPIES[copies]
        if self.missing > 0:
            random = np.random.default_rng([self.seed, 5, start])
            codes[random.random(codes.shape, dtype=np.float32) < self.missing] = MISSING
        return codes

    def _sample(self, number: int) -> str:
        return f"S{number:06d}"

    def _name(self, variant: int) -> str:
        return f"rs{variant + 1}"

    def _sites(self) -> Iterator[tuple[int, int, str, str, str]]:
        random = np.random.default_rng([self.seed, 6])
        ref = random.integers(0, 4, self.variants)
        alt = (ref + random.integers(1, 4, self.variants)) % 4
        each = -(-self.variants // 22)
        for variant in range(self.variants):
            chromosome, within = divmod(variant, each)
            position = _FIRST + within * self.spacing
            yield chromosome + 1, position, self._name(variant), _BASES[ref[variant]], _BASES[alt[variant]]

    def _sexes(self) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, 7]).integers(1, 3, self.samples)

    def _write_names(self, stem: Path) -> None:
        with stem.with_suffix(".bim").open("w") as bim:
            bim.writelines(
                f"{c}\t{name}\t0\t{pos}\t{alt}\t{ref}\n" for c, pos, name, ref, alt in self._sites()
            )
        with stem.with_suffix(".fam").open("w") as fam:
            fam.writelines(
                f"{self._sample(i)}\t{self._sample(i)}\t0\t0\t{sex}\t-9\n"
                for i, sex in enumerate(self._sexes())
            )

    def _write_phenotypes(self, path: Path, liability: Floats) -> None:
        random = np.random.default_rng([self.seed, 8])
        second, sex = self._population(), self._sexes()
        age = random.normal(50, 10, self.samples).round(1)
        ancestry = second + random.normal(0, 0.2, self.samples)
        score = random.normal(0, 1, self.samples)
        trait = (
            liability
            + 0.03 * (age - 50)
            + 0.4 * (sex == 1)
            + 0.5 * ancestry
            + random.normal(0, 1, self.samples)
        )
        logit = 1.5 * liability + 0.02 * (age - 50) + 0.3 * (sex == 1) + 0.3 * ancestry - 0.3
        case = random.random(self.samples) < 1 / (1 + np.exp(-logit))
        unknown = random.random(self.samples) < 0.02
        with path.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["sample_id", "QT", "CC", "cov_age", "cov_sex", "cov_pc1", "cov_pc2"])
            for i in range(self.samples):
                value = "NA" if unknown[i] else f"{trait[i]:.6f}"
                row = [
                    self._sample(i),
                    value,
                    1 + int(case[i]),
                    age[i],
                    sex[i],
                    f"{ancestry[i]:.6f}",
                    f"{score[i]:.6f}",
                ]
                table.writerow(row)


def _vcf_header(samples: list[str]) -> bytes:
    lines = ["##fileformat=VCFv4.2", '##FILTER=<ID=PASS,Description="All filters passed">']
    lines += [f"##contig=<ID={number}>" for number in range(1, 23)]
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples)]
    return ("\n".join(lines) + "\n").encode()
