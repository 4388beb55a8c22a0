"""Datasets, jobs and results of GWAS in the document store and the object store: what the assets of GWAS write to.

Objects are written before the documents that name them, and a document's status last, so that whatever is seen is whole.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.drops import Drop, DropKind, original
from genomics_assets.input_error import InputError
from resources.failures import permanent_failure
from resources.inbox import InboxResource
from resources.jobs.gwas import GwasJobs, GwasRequest
from resources.jobs.ledger import RunningJob, run_key_of
from resources.jobs.orphans import die_with_run_worker
from resources.jobs.store import JobOrigin
from resources.object_store import ObjectStoreResource
from resources.zygotrix_store import ZygotrixStore

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.gwas.dataset import GenotypeDataset
    from genomics_assets.gwas.drop_folder import DropFolder
    from genomics_assets.gwas.quality_control import QualityReport
    from genomics_assets.gwas.scan import Cohort, Scanned
    from genomics_assets.zygotrix.models import GwasDataset

MOST_ACTIVE_JOBS = 5
_PATIENCE_SECONDS, _LOOK_SECONDS = 600.0, 2.0
_COLLECTION = "gwas_jobs"
SAMPLE_JOIN, SAMPLE_QUALITY, VARIANT_QUALITY = (
    "sample_join.parquet", "sample_quality.parquet", "variant_quality.parquet",
)  # fmt: skip


@dataclass(frozen=True)
class DatasetPlace:
    """Where a dataset is: its ids and the prefixes of its objects.

    Attributes:
        user_id: the owner, by the name of the outer folder.
        dataset_id: an ObjectId made of the names of both folders.
        name: the inner folder's.
    """

    user_id: Any
    dataset_id: Any
    name: str

    @classmethod
    def of(cls, partition_key: str) -> "DatasetPlace":
        """The place of the dataset that was dropped as `<user>/<dataset>`.

        Raises:
            InputError: the user's name cannot be an id.
        """
        from genomics_assets.zygotrix.extended_json import derived_id, identifier

        user, _, name = original(partition_key).partition("/")
        try:
            user_id = identifier(user)
        except ValueError as error:
            raise InputError(
                f"the folder of the user cannot be an id: {error}", remedy="name the folder as the user's id"
            ) from error
        return cls(user_id, derived_id("gwas_datasets", user_id, name), name)

    @property
    def raw(self) -> str:
        """Prefix of the files as they were dropped."""
        return f"gwas-datasets/{self.user_id}/{self.dataset_id}/raw"

    @property
    def processed(self) -> str:
        """Prefix of the canonical form."""
        return f"gwas-datasets/{self.user_id}/{self.dataset_id}/processed"


class GwasStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The collections `gwas_datasets`, `gwas_jobs` and `gwas_results`, and the objects that they name."""

    zygotrix: dg.ResourceDependency[ZygotrixStore]
    objects: dg.ResourceDependency[ObjectStoreResource]
    gwas_jobs: dg.ResourceDependency[GwasJobs]

    # -- datasets ------------------------------------------------------------------------------------------------------

    @contextmanager
    def taking(
        self, inbox: InboxResource, kind: DropKind, partition_key: str
    ) -> Iterator[tuple[DatasetPlace, Drop]]:
        """The dropped folder of a partition; whatever is wrong with it is on the dataset's document.

        Raises:
            dagster.Failure: for every `InputError` of the block; it is not retried, for the same bytes would fail again.
        """
        place: DatasetPlace | None = None
        try:
            place = DatasetPlace.of(partition_key)
            drop = inbox.drop(kind, partition_key)
            self._expect_not_deleted(place)
            yield place, drop
            inbox.check_unchanged(drop)
        except InputError as error:
            told = error if error.file else error.in_file(f"{kind.folder}/{partition_key}")
            if place is not None:
                self._note_error(place, str(told))
            raise permanent_failure(told, partition_key) from error
        except BaseException as error:
            if place is not None:
                self._note_error(place, f"the dataset could not be processed ({type(error).__name__})")
            raise

    def begin(self, place: DatasetPlace, files: "DropFolder") -> None:
        """Say of the dataset that it is pending, then that it is being processed."""
        self._put(place, files, "pending")
        self._put(place, files, "processing")

    def keep_dataset(
        self, place: DatasetPlace, files: "DropFolder", cohort: "GenotypeDataset", folder: Path
    ) -> None:
        """Store the dropped files and their canonical form, then say that the dataset is processed."""
        from genomics_assets.gwas.dataset import GENOTYPES, SAMPLES, VARIANTS, chromosome_number
        from genomics_assets.zygotrix.models import DatasetMetadata

        for file in files.raw:
            self.objects.put_file(f"{place.raw}/{file.name}", file)
        for name in (GENOTYPES, VARIANTS, SAMPLES):
            self.objects.put_file(f"{place.processed}/{name}", folder / name)
        current = {f"{place.raw}/{file.name}" for file in files.raw}
        for key in self.objects.list(place.raw):
            if key not in current:
                self.objects.delete(key)
        self._put(
            place,
            files,
            "processed",
            snp_count=cohort.matrix.variants,
            sample_count=cohort.matrix.samples,
            processed_at=datetime.now(UTC),
            metadata=DatasetMetadata(
                chromosomes=[chromosome_number(name) or name for name in cohort.chromosomes],
                build=cohort.build,
            ),
            size_bytes=sum(file.stat().st_size for file in files.raw),
        )

    def dataset(self, place: DatasetPlace) -> "GwasDataset | None":
        """The dataset's document."""
        from genomics_assets.zygotrix.models import GwasDataset

        return self.zygotrix.get(GwasDataset, place.dataset_id)

    def put_table(self, place: DatasetPlace, name: str, table: "pa.Table") -> str:
        """Store a table beside the dataset's canonical form; returns where it is."""
        import pyarrow.parquet as pq

        key = f"{place.processed}/{name}"
        with self.objects.create(key) as path:
            pq.write_table(table, path, compression="zstd")
        return self.objects.uri(key)

    @contextmanager
    def cohort(self, place: DatasetPlace) -> Iterator["Cohort"]:
        """A processed dataset with its phenotypes and settings, on local disk while the block lasts."""
        from genomics_assets.gwas.dataset import read_dataset
        from genomics_assets.gwas.drop_folder import sort_files
        from genomics_assets.gwas.scan import Cohort

        with TemporaryDirectory(prefix="gwas-") as temporary:
            folder = Path(temporary)
            self._fetch(place.processed, folder)
            raw = folder / "raw"
            # Sorted by their names alone; of the genotypes the canonical form is read.
            names = [key.rpartition("/")[2] for key in self.objects.list(place.raw)]
            files = sort_files([raw / name for name in names])
            self._fetch(place.raw, raw, [file.name for file in files.raw if file not in files.genotypes])
            yield Cohort.of(read_dataset(folder), files.table(), files.settings(), files.phenotypes.name)

    def quality(self, place: DatasetPlace) -> "QualityReport":
        """The report of quality control."""
        import pyarrow.parquet as pq

        from genomics_assets.gwas.quality_control import QualityReport

        tables = []
        for name in (SAMPLE_QUALITY, VARIANT_QUALITY):
            with self.objects.open(f"{place.processed}/{name}") as file:
                tables.append(pq.read_table(file))
        return QualityReport.of_tables(*tables)

    def _fetch(self, prefix: str, folder: Path, names: Sequence[str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for key in self.objects.list(prefix):
            name = key.rpartition("/")[2]
            if names is None or name in names:
                with self.objects.open(key) as source, (folder / name).open("wb") as target:
                    copyfileobj(source, target, 1 << 20)

    def _put(self, place: DatasetPlace, files: "DropFolder", status: str, **more: Any) -> None:
        from genomics_assets.zygotrix.models import GwasDataset

        now, stored = datetime.now(UTC), self.dataset(place)
        name = files.genotypes[0].name
        self.zygotrix.put(
            GwasDataset.model_validate(
                {
                    "_id": place.dataset_id,
                    "user_id": place.user_id,
                    "name": name,
                    "file_type": files.file_type,
                    "status": status,
                    "storage_path": f"{place.raw}/{name}",
                    "created_at": stored.created_at if stored else now,
                    "updated_at": now,
                    "description": place.name,
                    **more,
                }
            )
        )

    def _note_error(self, place: DatasetPlace, error: str) -> None:
        from genomics_assets.zygotrix.models import GwasDataset

        now, stored = datetime.now(UTC), self.dataset(place)
        base = stored.document() if stored else {
            "_id": place.dataset_id, "user_id": place.user_id, "name": place.name, "file_type": "custom",
            "storage_path": f"{place.raw}/{place.name.replace('/', '_') or 'dataset'}", "created_at": now,
        }  # fmt: skip
        self.zygotrix.put(
            GwasDataset.model_validate({**base, "status": "error", "error": error, "updated_at": now})
        )

    def _expect_not_deleted(self, place: DatasetPlace) -> None:
        stored = self.dataset(place)
        if stored is not None and stored.deleting_since is not None:
            raise InputError(
                "the dataset is being deleted", remedy="drop it under another name, or again when it is gone"
            )

    # -- jobs and results ----------------------------------------------------------------------------------------------

    @contextmanager
    def working(
        self,
        context: dg.AssetExecutionContext,
        place: DatasetPlace,
        cohort: "Cohort",
        phenotypes: Sequence[str],
    ) -> Iterator[dict[str, RunningJob]]:
        """A running job for each phenotype; what the block leaves open ends with it.

        Waits while the user has too many active jobs.

        Raises:
            dagster.Failure: for every `InputError` of the block, and when the user's other jobs do not end.
        """
        die_with_run_worker(context.instance, context.run_id)
        self._wait_for_room(place, len(phenotypes), context.run_id)
        key = run_key_of(context.run_id, context.run.tags)
        jobs: dict[str, RunningJob] = {}
        try:
            for phenotype in phenotypes:
                request = GwasRequest(
                    user_id=place.user_id,
                    dataset_id=place.dataset_id,
                    analysis_type=_analysis(cohort, phenotype),
                    parameters=cohort.settings.as_document(),
                )
                origin = JobOrigin(f"{key}/{phenotype}", context.partition_key, context.run_id)
                jobs[phenotype] = self.gwas_jobs.begin(request, origin)
                self._note(
                    jobs[phenotype], {"phenotype_column": phenotype, "covariates": list(cohort.covariates)}
                )
            yield jobs
            unfinished = [phenotype for phenotype, job in jobs.items() if not job.closed]
            if unfinished:
                raise RuntimeError(f"{len(unfinished)} jobs were neither completed nor failed")
        except BaseException as error:
            for job in jobs.values():
                # Whatever goes wrong here must not hide what happened.
                with suppress(Exception):
                    job.end_by(error)
            if isinstance(error, InputError):
                raise permanent_failure(error, context.partition_key) from error
            raise

    def keep_result(self, job: RunningJob, place: DatasetPlace, scanned: "Scanned") -> str:
        """Store a trait's files and its result, and complete its job; returns the prefix of the files."""
        from genomics_assets.gwas.scan import ASSOCIATIONS
        from genomics_assets.gwas.summary import manhattan_data, qq_data, top_hits
        from genomics_assets.zygotrix.models import GwasResult

        prefix = f"gwas-results/{place.user_id}/{job.id}"
        for file in sorted(scanned.folder.iterdir()):
            self.objects.put_file(f"{prefix}/{file.name}", file)
        result = GwasResult.model_validate(
            {
                "job_id": job.id,
                "user_id": place.user_id,
                "dataset_id": place.dataset_id,
                "summary": scanned.summary.as_document(),
                "manhattan_plot_data": manhattan_data(scanned.table),
                "qq_plot_data": qq_data(scanned.table),
                "top_hits": top_hits(scanned.table),
                "created_at": datetime.now(UTC),
                "associations_path": f"{prefix}/{ASSOCIATIONS}",
                "phenotype": scanned.trait.name,
                "lead_loci": scanned.lead_documents(),
            }
        )
        self._note(
            job,
            {
                "snps_tested": scanned.summary.tested,
                "significant_snps": scanned.summary.genome_wide,
                "wall_seconds": round(scanned.wall_seconds, 3),
                "cpu_seconds": round(scanned.cpu_seconds, 3),
            },
        )
        with job.completion(result.id):
            self.zygotrix.put(result)
        return prefix

    def _wait_for_room(self, place: DatasetPlace, wanted: int, run_id: str) -> None:
        began = time.monotonic()
        while (active := self._active_jobs(place.user_id, run_id)) + wanted > MOST_ACTIVE_JOBS:
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise dg.Failure(
                    f"the user has {active} active jobs, {MOST_ACTIVE_JOBS} are the limit. Remedy: run this again when "
                    "they have ended, or cancel them.",
                    allow_retries=False,
                )
            time.sleep(_LOOK_SECONDS)

    def _active_jobs(self, user_id: Any, run_id: str) -> int:
        # Told apart here: the embedded server does not find by ObjectIds.
        found = self.zygotrix.collection(_COLLECTION).find(
            {"status": {"$in": ["pending", "running"]}}, {"user_id": 1, "run_id": 1}
        )
        return sum(1 for job in found if job.get("user_id") == user_id and job.get("run_id") != run_id)

    def _note(self, job: RunningJob, values: Mapping[str, Any]) -> None:
        self.zygotrix.collection(_COLLECTION).update_one({"_id": job.id}, {"$set": dict(values)})


def _analysis(cohort: "Cohort", phenotype: str) -> str:
    try:
        return cohort.trait(phenotype)[1]
    except InputError:
        return cohort.settings.analysis_type or "linear"


__all__ = ["SAMPLE_JOIN", "SAMPLE_QUALITY", "VARIANT_QUALITY", "DatasetPlace", "GwasStore"]
