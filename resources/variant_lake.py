"""The variant lake: the warehouse's rows as Parquet, one object for each chromosome and load.

`lake/variants/chrom=…/load_batch_id=…/part.parquet`, sorted by position; the path's two columns are not in the file.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

import dagster as dg

from resources.object_store import ObjectStoreError, ObjectStoreResource

if TYPE_CHECKING:
    import pyarrow as pa

LAKE_FOLDER = "lake/variants"
_IN_THE_PATH = ("chrom", "load_batch_id")


@dataclass(frozen=True)
class LakeReport:
    """What one load put into the lake."""

    rows: int
    parts: int
    size: int


def part_key(chrom: str, load_id: UUID) -> str:
    """Key of the object that holds a load's rows on one chromosome."""
    return f"{LAKE_FOLDER}/chrom={quote(chrom, safe='')}/load_batch_id={load_id}/part.parquet"


class VariantLake(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Writes and counts the lake's parts."""

    objects: dg.ResourceDependency[ObjectStoreResource]

    def write(self, load_id: UUID, batches: "Iterable[pa.RecordBatch]") -> LakeReport:
        """Put a load's rows, which come sorted by chromosome and position, one finished object a chromosome.

        Where that fails, the lake keeps no part of the load.
        """
        try:
            return self._write(load_id, batches)
        except BaseException:
            # What goes wrong here must not hide what happened; parts of a load that has others are told by `doctor`.
            with suppress(ObjectStoreError):
                self.remove([load_id])
            raise

    def _write(self, load_id: UUID, batches: "Iterable[pa.RecordBatch]") -> LakeReport:
        import pyarrow.parquet as pq

        rows = parts = size = 0
        for chrom, runs in groupby(_runs(batches), key=itemgetter(0)):
            key = part_key(chrom, load_id)
            with self.objects.create(key) as path:
                _, first = next(runs)
                with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
                    for piece in chain([first], map(itemgetter(1), runs)):
                        writer.write_batch(piece)
                        rows += piece.num_rows
                size += path.stat().st_size
            parts += 1
        return LakeReport(rows, parts, size)

    def uri(self) -> str:
        """Where the lake is, for other programs."""
        return self.objects.uri(LAKE_FOLDER)

    def example_query(self) -> str:
        """The line that reads the whole lake in DuckDB."""
        folder = self.uri().removeprefix("file://")
        return f"SELECT * FROM read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"  # noqa: S608 - to read

    def remove(self, load_ids: Iterable[UUID]) -> int:
        """Delete every part of the given loads, and say how many there were."""
        gone = {f"load_batch_id={load_id}" for load_id in load_ids}
        if not gone:
            return 0
        keys = [key for key in self.objects.list(LAKE_FOLDER) if key.split("/")[-2] in gone]
        for key in keys:
            self.objects.delete(key)
        return len(keys)

    def count_rows(self, load_id: UUID, chromosomes: Iterable[str]) -> int:
        """Rows of a load, by the footers of its parts."""
        import pyarrow.parquet as pq

        rows = 0
        for chrom in chromosomes:
            key = part_key(chrom, load_id)
            if not self.objects.exists(key):
                continue
            with self.objects.open(key) as part:
                rows += pq.read_metadata(part).num_rows
        return rows


def _runs(batches: "Iterable[pa.RecordBatch]") -> "Iterator[tuple[str, pa.RecordBatch]]":
    """Split batches where the chromosome changes, and drop the columns that the path holds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in batches:
        if batch.num_rows == 0:
            continue
        ends = pc.run_end_encode(batch.column("chrom").cast(pa.string()))
        rest = batch.drop_columns([name for name in _IN_THE_PATH if name in batch.schema.names])
        start = 0
        for chrom, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            yield chrom, rest.slice(start, end - start)
            start = end
