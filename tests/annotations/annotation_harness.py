"""What a user does and sees: drop a source and files, run their jobs and a pass, look at tables and events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
from run_results import metadata_of
from warehouse_harness import Warehouse

SOURCE = dg.AssetKey(["annotations", "annotation_source"])
ANNOTATED = dg.AssetKey(["variants", "annotated_variants"])

AF = '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">'
SIG = '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="Significance">'


def vcf(
    *records: str, info: tuple[str, ...] = (AF,), contigs: tuple[str, ...] = ("chr1,length=1000000",)
) -> str:
    """A sites VCF; a record is `chrom pos ref alt info`, parted by blanks."""
    lines = ["##fileformat=VCFv4.2", *(f"##contig=<ID={contig}>" for contig in contigs), *info]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    for record in records:
        chrom, pos, ref, alt, values = record.split(" ")
        lines.append(f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t.\tPASS\t{values}")
    return "\n".join(lines) + "\n"


class AnnotatedWarehouse(Warehouse):
    """A warehouse with annotation sources."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        super().__init__(folder, postgres_url)
        self._clock = 1_700_000_000

    def load(self, partition_key: str) -> dg.ExecuteInProcessResult:
        """Take a VCF as far as its variants: what else becomes of it is not looked at here."""
        self.instance.add_dynamic_partitions("vcf_files", [partition_key])
        return self.job.execute_in_process(
            instance=self.instance,
            partition_key=partition_key,
            asset_selection=[dg.AssetKey(["variants", name]) for name in ("vcf_files", "variants")],
            raise_on_error=False,
        )

    def put(self, source: str, name: str, content: str | bytes) -> Path:
        """Put a file into a source's folder, later than every other one."""
        path = self.inbox / "annotations" / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._clock += 60
        os.utime(path, (self._clock, self._clock))
        return path

    def put_fields(self, source: str, *fields: dict[str, Any]) -> None:
        self.put(source, "fields.json", json.dumps(fields))

    def load_source(self, source: str, **config: Any) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("annotation_sources", [source])
        ops = {"annotations__annotation_source": {"config": config}} if config else {}
        return self.definitions.resolve_job_def("load_annotation").execute_in_process(
            instance=self.instance, partition_key=source, run_config={"ops": ops}, raise_on_error=False
        )

    def take(
        self, source: str, content: str | bytes, name: str = "source.vcf", **config: Any
    ) -> dict[str, Any]:
        """Drop a version, load it, and give the metadata of its materialization."""
        self.put(source, name, content)
        result = self.load_source(source, **config)
        assert result.success, [e.step_failure_data for e in result.all_events if e.is_step_failure]
        return materialized(result, SOURCE)

    def annotate(self, **config: Any) -> dict[str, Any]:
        """One pass, and its metadata."""
        job = self.definitions.resolve_job_def("annotate_variants")
        ops = {"variants__annotated_variants": {"config": config}} if config else {}
        result = job.execute_in_process(instance=self.instance, run_config={"ops": ops})
        return materialized(result, ANNOTATED)

    def anno(self, source: str, columns: str = "*") -> list[tuple[Any, ...]]:
        return self.query(f"SELECT {columns} FROM genomics.anno_{source} ORDER BY chrom, pos, ref, alt")

    def check(self, result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
        [found] = [e for e in result.get_asset_check_evaluations() if e.check_name == name]
        return found


def materialized(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    """The metadata of an asset's materialization."""
    return metadata_of(result, *key.path)
