"""Every parser of dropped files, with inputs that it takes, and how to call it as the assets do."""

from __future__ import annotations

import gzip
import io
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genomics_assets.input_error import InputError
from genomics_assets.jobs.legacy import BrokenJobError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REFUSALS = (InputError, BrokenJobError)
"""What a parser may raise: its one error, or for the JSON of a single legacy job its documented one."""

Call = Callable[[Path, bytes], Any]


@dataclass(frozen=True)
class Parser:
    """A parser and its seeds.

    Attributes:
        call: takes an empty folder and the bytes of a file, and reads all of it.
        seeds: bytes that it takes.
        wrap: what is done to the bytes after they were mutated, for containers; None: nothing.
        weight: how many inputs it gets, next to others.
    """

    call: Call
    seeds: Sequence[bytes]
    wrap: Callable[[bytes], bytes] | None = None
    weight: int = 1


# -- VCF ---------------------------------------------------------------------------------------------------------------

_SEED = (Path(__file__).with_name("seed.vcf")).read_bytes()
HEADER, RECORDS = (
    b"".join(line for line in _SEED.splitlines(keepends=True) if line.startswith(b"#") is header)
    for header in (True, False)
)
SITES = HEADER.replace(b"\tFORMAT\ts1\ts2", b"") + b"\n".join(
    b"\t".join(line.split(b"\t")[:8]) for line in RECORDS.splitlines()
) + b"\n"  # fmt: skip
TRIO = b"".join((EXAMPLES / "inbox/vcf/trio.vcf").read_bytes().splitlines(keepends=True)[:60])
VCFS = (HEADER + RECORDS, SITES, TRIO, (EXAMPLES / "inbox/vcf/structural.vcf").read_bytes())


def read_variants(engine: str, name: str) -> Call:
    def call(folder: Path, data: bytes) -> int:
        from genomics_assets.variants.inspection import inspect_vcf
        from genomics_assets.variants.reader import ReadOptions, VariantStream

        path = folder / name
        path.write_bytes(data)
        file = inspect_vcf(path, partition_key="k", file_path=name)
        stream = VariantStream(
            path,
            file.header,
            options=ReadOptions(uuid.UUID(int=1), engine=engine),  # type: ignore[arg-type]
        )
        rows = sum(batch.num_rows for batch in stream.batches())
        return rows + sum(batch.num_rows for batch in stream.genotype_batches())

    return call


def bgzf(data: bytes) -> bytes:
    from genomics_assets.annotations.bgzf_writer import BgzfWriter

    file = io.BytesIO()
    with BgzfWriter(file) as out:
        out.write(data)
    return file.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


@cache
def bcf() -> bytes:
    """The records as htslib writes them, without the container."""
    import tempfile

    import cyvcf2

    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder) / "a.vcf", Path(folder) / "a.bcf"
        text.write_bytes(HEADER + RECORDS)
        reader = cyvcf2.VCF(str(text))
        writer = cyvcf2.Writer(str(binary), reader, mode="wbu")
        for variant in reader:
            writer.write_record(variant)
        writer.close()
        data = binary.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


# -- the other formats -------------------------------------------------------------------------------------------------


def in_file(name: str, read: Callable[[Path], Any]) -> Call:
    """A parser that reads one file."""

    def call(folder: Path, data: bytes) -> Any:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return call


COHORT = EXAMPLES / "inbox/gwas/user123/heights"
BIM = b"".join((COHORT / "heights.bim").read_bytes().splitlines(keepends=True)[:20])
FAM = b"".join((COHORT / "heights.fam").read_bytes().splitlines(keepends=True)[:10])
BED = (COHORT / "heights.bed").read_bytes()[:3] + bytes(range(20 * 3))


def plink(mutated_part: str) -> Call:
    def call(folder: Path, data: bytes) -> Any:
        from genomics_assets.gwas.dataset import haploid_in
        from genomics_assets.gwas.plink_files import read_plink

        parts = {"bed": BED, "bim": BIM, "fam": FAM, mutated_part: data}
        for ending, content in parts.items():
            (folder / f"a.{ending}").write_bytes(content)
        dataset = read_plink(folder / "a.bed", folder / "a.bim", folder / "a.fam")
        return haploid_in(dataset.variants, dataset.build), dataset.sex, dataset.chromosomes

    return call


def gwas_vcf(folder: Path, data: bytes) -> Any:
    from genomics_assets.gwas.vcf_genotypes import import_vcf

    (folder / "a.vcf").write_bytes(data)
    return import_vcf(folder / "a.vcf", folder)


def phenotypes(path: Path) -> Any:
    from genomics_assets.gwas.phenotypes import join_samples, read_phenotypes

    return join_samples(["S000000", "S000001"], read_phenotypes(path))


def job_settings(path: Path) -> Any:
    from genomics_assets.gwas.job_settings import read_job_settings

    return read_job_settings(path).as_document()


def matrix(path: Path) -> Any:
    from genomics_assets.bmd.expression_matrix import read_expression_matrix

    return read_expression_matrix(path).digest()


def analysis_settings(path: Path) -> Any:
    from genomics_assets.bmd.analysis_settings import read_analysis_settings

    settings = read_analysis_settings(path)
    return settings.prefilters, settings.fit_settings


def bmdexpress(path: Path) -> Any:
    from genomics_assets.bmd.analysis_settings import read_bmdexpress_config

    return read_bmdexpress_config(path)


def probe_map(path: Path) -> Any:
    from genomics_assets.bmd.platform_annotation import read_probe_map

    return read_probe_map(path)


def gene_sets(path: Path) -> Any:
    from genomics_assets.bmd.gene_sets import read_gene_sets

    return read_gene_sets(path)


def autopsies(path: Path) -> Any:
    from genomics_assets.verbal_autopsy.submission import (
        form_of,
        odk_ids,
        read_causes,
        read_symptoms,
        read_table,
    )

    table = read_table(path)
    match form_of(table):
        case "causes":
            return read_causes(table, ["InterVA", "EAVA"])
        case "odk":
            return odk_ids(table)
        case _:
            return read_symptoms(table, ["i019a", "i019b", "i022a"], "child")


def batch_settings(path: Path) -> Any:
    from genomics_assets.verbal_autopsy.batch_settings import read_batch_settings

    return read_batch_settings(path, "batch.csv")


def export(collection: str) -> Call:
    def call(folder: Path, data: bytes) -> Any:
        from genomics_assets.zygotrix.jsonl import Settled, expect_usable, read_export
        from genomics_assets.zygotrix.models import MODELS

        path = folder / "a.jsonl"
        path.write_bytes(data)
        found = read_export(path, MODELS[collection], lambda documents: [Settled(d) for d in documents])
        try:
            expect_usable(found, file_name="a.jsonl", quarantine="q")
            return list(found.documents()), found.quarantine().read()
        finally:
            found.close()

    return call


def fields(folder: Path, data: bytes) -> Any:
    from genomics_assets.annotations.field_config import parse_fields

    return parse_fields(data)


def source(name: str, fields: bytes | None) -> Call:
    """A whole annotation source: its header, then its rows."""

    def call(folder: Path, data: bytes) -> Any:
        from genomics_assets.annotations.source_files import read_folder
        from genomics_assets.annotations.source_records import SourceStream, read_head

        (folder / name).write_bytes(data)
        if fields is not None:
            (folder / "fields.json").write_bytes(fields)
        files = read_folder(folder, "mine" if fields is not None else "cadd")
        stream = SourceStream(files, read_head(files).fields)
        return sum(batch.num_rows for batch in stream.batches())

    return call


def source_sidecar(path: Path) -> Any:
    from genomics_assets.annotations.source_files import SourceSidecar
    from genomics_assets.sidecars import read_sidecar

    return read_sidecar(path, SourceSidecar)


def vcf_sidecar(path: Path) -> Any:
    from genomics_assets.variants.sidecar import read_vcf_sidecar

    return read_vcf_sidecar(path)


def refresh(path: Path) -> Any:
    from genomics_assets.annotations.refresh import read_settings

    return read_settings(path)


def pedigree(path: Path) -> Any:
    from genomics_assets.variants.pedigree import merge, read_pedigree

    return merge([], read_pedigree(path))


def legacy(path: Path) -> Any:
    from genomics_assets.jobs.legacy import read_job

    return read_job(path, "653475d0-3a75-4bb6-b1cb-a3c466a6c02e", relative="jobs/a.json")


def expression(folder: Path, data: bytes) -> Any:
    from genomics_assets.annotations.filter_expression import Column, Columns, parse, render

    kinds = {"af_gnomad": "real", "gene": "text", "pos": "integer", "is_lof": "boolean"}
    columns = Columns(Column("variants", name, kind) for name, kind in kinds.items())  # type: ignore[arg-type]
    return render(parse(data.decode("utf-8", "replace"), columns))


def _jsonl(collection: str, folder: str | None = None) -> tuple[bytes, ...]:
    inbox = EXAMPLES / "inbox/zygotrix" / (folder or collection)
    return tuple(
        b"".join(file.read_bytes().splitlines(keepends=True)[:4]) for file in sorted(inbox.glob("*.jsonl"))
    )


FIELDS = b'[{"field": "AF", "alias": "af", "type": "real"}, {"field": "TAG", "alias": "tag", "missing_string": "none"}]'
LEGACY = (
    b'{"id": ["653475d0-3a75-4bb6-b1cb-a3c466a6c02e"], "type": ["pipeline"], "status": ["completed"], '
    b'"created_at": ["2025-12-31 00:53:54"], "started_at": ["2025-12-31 00:53:55"], "algorithm": ["InterVA"], '
    b'"completed_at": ["2025-12-31 00:54:54"], "log": ["[00:53:56] begins", "ends"], "ensemble": [true], '
    b'"result": {"csmf": {"sepsis": 0.5}, "files": {"a": ["causes.csv"]}}, "country": {}, "error": {}}'
)
MATRIX = b"note\nid\ts1\ts2\ts3\ts4\ts5\ts6\nDose\t0\t0\t1\t1\t3\t3\nA\t5\t4\t6\t4.5\t1e2\t-7\nB\t1\t1\t1\t1\t1\t1\n"
BMDEXPRESS = b"""{"bm2FileName": "x.bm2",
 "expressionDataConfigs": [{"inputFileName": "a.txt", "hasHeaders": true, "logTransformation": "NONE", "platform": "G"}],
 "preFilterConfigs": [{"@type": "williams", "useFoldChange": false, "foldChange": 0, "lotelTest": 2},
  {"@type": "curvefit", "inputCategory": "williams", "bmrFactor": 1.581, "poly2BmrFactor": null}],
 "bmdsConfigs": [{"modelConfigs": [{"@type": "hill"}, {"@type": "poly", "degree": 1}, {"@type": "exp", "expModel": 5}],
  "bmdsInputConfig": {"bmrType": 2, "bmrFactor": 0.25, "bmdUBmdLEstimationMethod": 2},
  "bmdsBestModelSelection": {"bestPolyTest": 1, "kParameterValue": 3, "bmdlBMDUUse": 4},
  "inputCategory": "curvefit_prefilter"}],
 "categoryAnalysisConfigs": [{"@type": "defined", "categoryFilePath": "/x/h.txt", "probeFilePath": "/x/c.txt",
  "bmdBMDLRatioMin": 20.0, "minGenesInSet": 3, "removeAdverseDirection": -1}]}"""
CADD = (
    b"## CADD GRCh38-v1.7\n#Chrom\tPos\tRef\tAlt\tRawScore\tPHRED\n"
    b"1\t100\tA\tG\t0.5\t12.1\n1\t101\tC\tT\t-0.1\t0.3\nX\t5\tG\tA\t1.5\t22\n"
)
CAUSES = (
    b"ID,cause,algorithm\n1,Sepsis,InterVA\n2,Malaria,EAVA\n3,Other,InterVA\n",
    b"ID,i019a,i019b,i022a\n1,y,n,.\n2,n,y,-\n3,y,n,n\n",
    b"instanceID,Id10019,Id10020\nuuid:1,male,yes\nuuid:2,female,no\n",
)
SIDECAR = (b"reference_genome: GRCh38\nsample_id: S1\n",)
REFRESH = (
    b"sources:\n  clinvar: {url: https://example.org/clinvar.vcf.gz, every: weekly}\n"
    b"  mine: {url: [https://example.org/a.vcf.gz, https://example.org/b.vcf.gz]}\n",
)
EXPRESSIONS = (
    b"af_gnomad < 0.01 and gene in ['TP53', 'BRCA1'] or not (pos > 5 and is_lof)",
    b"gene like 'BR%' and af_gnomad is null",
)


def _yaml(*paths: str) -> tuple[bytes, ...]:
    return tuple((EXAMPLES / "inbox" / path).read_bytes() for path in paths)


def parsers() -> dict[str, Parser]:
    """By name."""
    bmd = "bmd/synthetic/hepatocytes"
    return {
        "vcf native": Parser(read_variants("native", "a.vcf"), VCFS, weight=8),
        "vcf python": Parser(read_variants("python", "a.vcf"), VCFS, weight=2),
        "vcf in bgzf": Parser(read_variants("auto", "a.vcf.gz"), VCFS, bgzf, weight=2),
        "vcf in gzip": Parser(read_variants("auto", "a.vcf.gz"), VCFS[:2], gzipped),
        "bgzf": Parser(read_variants("auto", "a.vcf.gz"), [bgzf(vcf) for vcf in VCFS[:2]]),
        "gzip": Parser(read_variants("auto", "a.vcf.gz"), [gzipped(vcf) for vcf in VCFS[:2]]),
        "bcf": Parser(read_variants("auto", "a.bcf"), [bcf()], bgzf, weight=2),
        "gwas vcf": Parser(gwas_vcf, VCFS[:1] + VCFS[2:3], weight=4),
        "bed": Parser(plink("bed"), [BED]),
        "bim": Parser(plink("bim"), [BIM]),
        "fam": Parser(plink("fam"), [FAM]),
        "phenotypes.csv": Parser(in_file("phenotypes.csv", phenotypes),
                                 [b"".join((COHORT / "phenotypes.csv").read_bytes().splitlines(True)[:8])]),
        "job.yaml": Parser(in_file("job.yaml", job_settings), [(COHORT / "job.yaml").read_bytes()]),
        "bmd matrix": Parser(in_file("a.txt", matrix), [MATRIX], weight=2),
        "bmd yaml": Parser(in_file("a.yaml", analysis_settings), _yaml(f"{bmd}.yaml")),
        "bmdexpress json": Parser(in_file("a.json", bmdexpress), [BMDEXPRESS]),
        "probe map": Parser(in_file("a.txt", probe_map), [b"probe\tgene\tsymbol\nP1\tG1;G2\tS\nP2\tG1\t\n"]),
        "gmt": Parser(in_file("a.gmt", gene_sets), [b"SET\tA set\tG1\tG2\nOTHER\t\tG3\n"]),
        "category map": Parser(in_file("a.txt", gene_sets), [b"category\tname\tgene\nC1\tOne\tG1\nC1\tOne\tG2\n"]),
        "va csv": Parser(in_file("batch.csv", autopsies), CAUSES, weight=2),
        "va yaml": Parser(in_file("batch.yaml", batch_settings),
                          _yaml("verbal_autopsy/children.yaml", "verbal_autopsy/newborns.yaml")),
        "users": Parser(export("users"), _jsonl("users")),
        "traits": Parser(export("traits"), _jsonl("traits")),
        "conversations": Parser(export("conversations"), _jsonl("conversations")),
        "courses": Parser(export("university_courses"), _jsonl("university_courses")),
        "enrollments": Parser(export("university_enrollments"), _jsonl("university_enrollments")),
        "fields.json": Parser(fields, [FIELDS]),
        "source vcf": Parser(source("a.vcf", FIELDS), [SITES]),
        "source table": Parser(source("whole_genome_SNVs.tsv", None), [CADD]),
        "source.yaml": Parser(in_file("source.yaml", source_sidecar), [b"version: '2024'\ntype: population\n"]),
        "refresh yaml": Parser(in_file("refresh.yaml", refresh), REFRESH),
        "vcf yaml": Parser(in_file("a.yaml", vcf_sidecar), SIDECAR),
        "ped": Parser(in_file("a.ped", pedigree), _yaml("vcf/trio.ped")),
        "legacy json": Parser(in_file("a.json", legacy), [LEGACY]),
        "filter expression": Parser(expression, EXPRESSIONS),
    }  # fmt: skip
