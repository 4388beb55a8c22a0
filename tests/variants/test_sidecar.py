from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from genomics_assets.input_error import InputError
from genomics_assets.sidecars import parse_sidecar, read_sidecar
from genomics_assets.variants.sidecar import VcfSidecar, read_vcf_sidecar


@dataclass(frozen=True)
class Thresholds:
    maf: float = 0.0
    threads: int = 1


@dataclass(frozen=True)
class Job:
    analysis: Literal["linear", "logistic"]
    covariates: list[str] = field(default_factory=list)
    thresholds: Thresholds = field(default_factory=Thresholds)
    ensemble: bool = False
    copies: Literal[1, 2] = 2
    columns: dict[str, float] | None = None


def test_both_keys_of_a_vcf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# who\nreference_genome: GRCh38\nsample_id: 'S 1'\n")
    assert read_vcf_sidecar(path) == VcfSidecar("GRCh38", "S 1")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "sample_id:\n", "sample_id: null\n"])
def test_what_is_not_said_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert read_vcf_sidecar(path) == VcfSidecar(None, None)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            "reference_genome: GRCh38\nsampel_id: S1\n",
            2,
            "unknown key 'sampel_id'. Remedy: write 'sample_id'; the keys",
        ),
        ("Sample_ID: S1\n", 1, "write 'sample_id'"),
        ("colour: red\n", 1, "the keys are reference_genome, sample_id"),
        ("sample_id: S1\n\nsample_id: S2\n", 3, "sample_id is also on line 1"),
        (
            "sample_id: 00123\n",
            1,
            'sample_id is no text to YAML. Remedy: put it in quotes: sample_id: "…"',
        ),
        ("sample_id: NO\n", 1, "sample_id is no text to YAML"),
        ("sample_id: 2024-01-31\n", 1, "sample_id is no text to YAML"),
        ("sample_id: 2024-99-99\n", 1, "sample_id is no text to YAML"),
        ("sample_id: [S1, S2]\n", 1, "sample_id is a list"),
        ("sample_id: ' '\n", 1, "sample_id is empty"),
        ('sample_id: "a\\0b"\n', 1, "NUL"),
        ("reference_genome: a-name-that-is-far-too-long\n", 1, "27 characters, 20 are the limit"),
        ("- sample_id: S1\n", 1, "not a mapping"),
        ("sample_id\n", 1, "not a mapping"),
        ("12: S1\n", 1, "the key '12' is not text"),
        ("sample_id: S1\n  reference_genome: x: y\n", 2, "not YAML"),
        ("reference_genome: GRCh38\nsample_id: 'S1\n", None, "not YAML"),
        ("sample_id: !!python/object/apply:os.system ['true']\n", 1, "not YAML"),
        ("a: 1\n---\nb: 2\n", None, "not YAML"),
        ("sample_id: " + "[" * 5000, None, "Remedy"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    path = tmp_path / "bad one.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_vcf_sidecar(path)
    assert caught.value.file == "bad one.yaml"
    assert words in str(caught.value)
    if line is not None:
        assert caught.value.line == line


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"sample_id: Ren\xe9\n")
    with pytest.raises(InputError, match="not YAML"):
        read_vcf_sidecar(path)


def test_data_under_a_sidecars_name_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(InputError, match="1,048,577 bytes"):
        read_vcf_sidecar(path)


def test_other_domains_state_their_keys_as_a_dataclass(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "analysis: logistic\ncovariates: [cov_age, cov_sex]\nthresholds: {maf: 1e-6, threads: 2}\n"
        "ensemble: true\ncolumns: {QT: 1, BMI: 2.5}\n"
    )
    assert read_sidecar(path, Job) == Job(
        "logistic", ["cov_age", "cov_sex"], Thresholds(1e-6, 2), True, columns={"QT": 1.0, "BMI": 2.5}
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("covariates: []", 1, "no analysis. Remedy: add `analysis: ...`, one of linear, logistic"),
        ("analysis: logistik", 1, "write 'logistic'; the choices are linear, logistic"),
        (
            "analysis: linear\nthresholds:\n  maf: low",
            3,
            "thresholds.maf is 'low', text to YAML. Remedy: write a number",
        ),
        ("analysis: linear\nthresholds: {mfa: 1}", 2, "unknown key 'thresholds.mfa'. Remedy: write 'maf'"),
        ("analysis: linear\nthresholds: {threads: 1.5}", 2, "a number to YAML. Remedy: write a whole number"),
        ("analysis: linear\nthresholds: {threads: true}", 2, "true or false to YAML"),
        ("analysis: linear\nthresholds: {maf: .nan}", 2, "finite"),
        ("analysis: linear\nthresholds: 3", 2, "thresholds is not a mapping"),
        ("analysis: linear\nthresholds:", 2, "thresholds has no value"),
        ("analysis: linear\ncovariates: cov_age", 2, "covariates is 'cov_age', not a list"),
        ("analysis: linear\ncovariates:\n- a\n- 3", 4, "covariates[1] is '3', a whole number to YAML"),
        ("analysis: linear\nensemble: 1", 2, "write true or false"),
        ("analysis: linear\ncopies: true", 2, "copies is 'true'. Remedy: the choices are 1, 2"),
    ],
)
def test_types_are_checked_to_the_innermost_value(text: str, line: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sidecar(text, Job)
    assert words in str(caught.value)
    assert caught.value.line == line
