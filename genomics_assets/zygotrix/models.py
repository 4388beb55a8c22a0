"""The documents of the eight collections: one model each, which is the only place where their rules are written.

Code validates with these models; `mongo_schema` makes of them the `$jsonSchema` that a real MongoDB enforces. Field
names and status words are those of the Zygotrix documents; what the Zygotrix application calls otherwise is accepted on
input and stored under the canonical name. Fields that no model knows are kept as they are.

    >>> user = User.model_validate({"email": "Ada@Example.org", "user_role": "admin"})
    >>> user.document()["role"], user.document()["email"]
    ('admin', 'ada@example.org')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, model_validator

from genomics_assets.zygotrix.extended_json import Identifier, Moment, derived_id
from genomics_assets.zygotrix.inheritance import InheritanceError, InheritancePattern, phenotype_of_genotype

MAX_TOP_HITS = 100

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShortText = Annotated[str, Field(min_length=1, max_length=500)]
Email = Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]

DatasetStatus = Literal["pending", "processing", "processed", "error"]
JobStatus = Literal["pending", "running", "completed", "failed", "cancelled"]
AnalysisType = Literal["linear", "logistic", "chi_square", "trend", "genotypic", "fisher"]
FINISHED_JOB: frozenset[JobStatus] = frozenset({"completed", "failed", "cancelled"})
ACTIVE_JOB: frozenset[JobStatus] = frozenset({"pending", "running"})


def addition(**rules: Any) -> Any:
    """A field beyond those of the Zygotrix documents: stored where it has a value."""
    return Field(default=None, json_schema_extra={"addition": True}, **rules)


class Part(BaseModel):
    """A part of a document: an object inside it.

    Attributes:
        field_aliases: other names of fields, mapped on input.
        word_aliases: other words for the values of fields, by field, mapped on input.
    """

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        populate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    field_aliases: ClassVar[Mapping[str, str]] = {}
    word_aliases: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        renamed = dict(values)
        for alias, name in cls.field_aliases.items():
            if alias in renamed:
                value = renamed.pop(alias)
                renamed.setdefault(name, value)
        for name, words in cls.word_aliases.items():
            if isinstance(word := renamed.get(name), str):
                renamed[name] = words.get(word, word)
        return cls._adapted(renamed)

    @classmethod
    def _adapted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Other shapes of the same content, brought to the canonical one."""
        return values

    def stored(self) -> dict[str, Any]:
        """What is stored: every field of the Zygotrix documents, and of the additions those with a value."""
        kept: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = _stored(getattr(self, name))
            extra = field.json_schema_extra
            if value is None and isinstance(extra, dict) and extra.get("addition"):
                continue
            kept[field.serialization_alias or name] = value
        return {**kept, **{name: _stored(value) for name, value in (self.model_extra or {}).items()}}


class Document(Part):
    """A document of one collection.

    Attributes:
        collection: where it is stored.
        natural_key: the fields that name what it is about, whatever its `_id`.
        secret_fields: never shown anywhere, quarantine included.
    """

    collection: ClassVar[str]
    natural_key: ClassVar[tuple[str, ...]] = ("_id",)
    secret_fields: ClassVar[frozenset[str]] = frozenset()

    id: Identifier = Field(default="", validation_alias="_id", serialization_alias="_id")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.id == "":
            if self.natural_key == ("_id",):
                raise ValueError("_id is missing")
            self.id = self.derived()
        return self

    def derived(self) -> ObjectId:
        """The `_id` that the natural key gives."""
        return derived_id(self.collection, *self.natural_key_values())

    def natural_key_values(self) -> tuple[Any, ...]:
        """Values of the natural key's fields."""
        return tuple(self.id if name == "_id" else getattr(self, name) for name in self.natural_key)

    def document(self) -> dict[str, Any]:
        """The document for MongoDB."""
        return self.stored()


def _stored(value: Any) -> Any:
    if isinstance(value, Part):
        return value.stored()
    if isinstance(value, list):
        return [_stored(item) for item in value]
    if isinstance(value, dict):
        return {name: _stored(item) for name, item in value.items()}
    return value


# -- people ------------------------------------------------------------------------------------------------------------


class UserPreferences(Part):
    """How a user wants to be answered."""

    field_aliases = {"communication_style": "style", "answer_length": "length"}

    style: ShortText | None = None
    length: ShortText | None = None
    auto_learn: bool | None = None
    teaching_aids: list[str] | None = addition()
    visual_aids: list[str] | None = addition()
    preference_scores: dict[str, float] | None = addition()


class User(Document):
    """An account. The password is known only by its hash, and even that is never shown."""

    collection = "users"
    natural_key = ("email",)
    secret_fields = frozenset({"password_hash"})
    field_aliases = {
        "id": "_id",
        "user_role": "role",
        "hashed_password": "password_hash",
        "is_verified": "email_verified",
    }

    email: Email
    password_hash: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    full_name: Annotated[str, Field(max_length=500)] | None = None
    role: Literal["user", "admin", "super_admin"] = "user"
    created_at: Moment | None = None
    updated_at: Moment | None = None
    email_verified: bool = False
    preferences: UserPreferences = Field(default_factory=UserPreferences)
    is_active: bool | None = addition()
    subscription_status: Literal["free", "pro"] | None = addition()

    @classmethod
    def _adapted(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(email := values.get("email"), str):
            values["email"] = email.strip().lower()
        return values


class Message(Part):
    """One utterance of a conversation."""

    field_aliases = {"_id": "id", "message_id": "id", "created_at": "timestamp"}

    id: Annotated[str, Field(min_length=1, max_length=100)]
    role: Literal["user", "assistant", "system", "tool"]
    content: str
    timestamp: Moment
    tools_used: list[str] | None = addition()
    status: Literal["pending", "streaming", "completed", "error", "stopped"] | None = addition()


class ConversationContext(Part):
    """What the assistant remembers of a conversation."""

    last_trait: str | None = None
    preferences: dict[str, Any] = Field(default_factory=dict)


class Conversation(Document):
    """A conversation with the assistant, with its messages."""

    collection = "conversations"
    field_aliases = {"id": "_id"}

    user_id: Identifier
    title: Annotated[str, Field(max_length=1000)] = ""
    created_at: Moment
    updated_at: Moment
    messages: list[Message] = Field(default_factory=list)
    context: ConversationContext = Field(default_factory=ConversationContext)
    status: Literal["active", "archived", "deleted"] | None = addition()

    @classmethod
    def _adapted(cls, values: dict[str, Any]) -> dict[str, Any]:
        values.setdefault("updated_at", values.get("created_at"))
        return values


# -- traits ------------------------------------------------------------------------------------------------------------


class Allele(Part):
    """A form of a gene, by the symbol that genotypes are written with."""

    symbol: Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[^\s/|,]+$")]
    name: ShortText
    dominant: bool


class Phenotype(Part):
    """What a set of genotypes looks like."""

    genotypes: Annotated[list[str], Field(min_length=1)]
    name: ShortText


class GeneInfo(Part):
    """Which genes a trait rests on, and where they lie."""

    genes: list[str] = Field(default_factory=list)
    chromosomes: list[str] = Field(default_factory=list)
    locus: str | None = None


TraitType = Literal[
    "simple_dominant", "simple_recessive", "codominant", "incomplete_dominant", "multiple_alleles",
    "sex_linked_dominant", "sex_linked_recessive", "sex_linked", "mitochondrial", "polygenic",
]  # fmt: skip


class Trait(Document):
    """A trait whose phenotype follows from the genotype at one gene.

    The phenotypes cover every genotype that the alleles allow, each once; a polygenic trait has none.
    """

    collection = "traits"
    natural_key = ("key",)
    field_aliases = {"id": "_id"}
    key: Annotated[str, Field(min_length=1, max_length=200)]
    name: ShortText
    type: TraitType
    inheritance_pattern: InheritancePattern
    alleles: list[Allele] = Field(default_factory=list)
    phenotypes: list[Phenotype] = Field(default_factory=list)
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    created_at: Moment | None = None
    updated_at: Moment | None = addition()
    category: str | None = addition()
    verification_status: str | None = addition()
    gene_info: GeneInfo | None = addition()
    references: list[str] | None = addition()
    status: Literal["draft", "active", "deprecated"] | None = addition()
    visibility: Literal["private", "team", "public"] | None = addition()
    owner_id: Identifier | None = addition()

    @classmethod
    def _adapted(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "key" not in values and isinstance(name := values.get("name"), str):
            values["key"] = trait_key(name)
        if isinstance(pattern := values.get("inheritance_pattern"), str):
            pattern = re.sub(r"[\s-]+", "_", pattern.strip().lower())
            values["inheritance_pattern"] = _OTHER_PATTERNS.get(pattern, pattern)
        alleles, phenotypes = values.get("alleles"), values.pop("phenotype_map", None)
        if isinstance(phenotypes, dict) and "phenotypes" not in values:
            values["phenotypes"] = _grouped(phenotypes)
        if isinstance(alleles, list) and alleles and all(isinstance(symbol, str) for symbol in alleles):
            values["alleles"] = [
                {"symbol": s, "name": s, "dominant": s[:1].isupper()}
                for s in alleles
                if not (s == "Y" and str(values.get("inheritance_pattern")).startswith("x_linked"))
            ]
        if "type" not in values and isinstance(pattern := values.get("inheritance_pattern"), str):
            values["type"] = _TYPE_OF_PATTERN.get(pattern, "simple_dominant")
        return values

    @model_validator(mode="after")
    def _covers_its_genotypes(self) -> Self:
        try:
            phenotype_of_genotype(
                self.inheritance_pattern,
                [allele.symbol for allele in self.alleles],
                [(phenotype.name, phenotype.genotypes) for phenotype in self.phenotypes],
            )
        except InheritanceError as error:
            raise ValueError(str(error)) from None
        return self


# What the application calls them, once spaces and hyphens are underscores.
_OTHER_PATTERNS = {
    "autosomal": "mendelian",
    "dominant": "autosomal_dominant",
    "recessive": "autosomal_recessive",
    "codominant": "codominance",
    "incomplete_dominant": "incomplete_dominance",
}
_TYPE_OF_PATTERN = {
    "mendelian": "simple_dominant",
    "autosomal_dominant": "simple_dominant",
    "autosomal_recessive": "simple_recessive",
    "codominance": "codominant",
    "incomplete_dominance": "incomplete_dominant",
    "x_linked_dominant": "sex_linked_dominant",
    "x_linked_recessive": "sex_linked_recessive",
    "x_linked_codominance": "sex_linked",
    "y_linked": "sex_linked",
    "mitochondrial": "mitochondrial",
    "polygenic": "polygenic",
}


def trait_key(name: str) -> str:
    """The key of a trait that came without one.

    >>> trait_key("Huntington's disease")
    'huntingtons_disease'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "").replace("’", "")).strip("_")


def _grouped(phenotype_map: dict[str, Any]) -> list[dict[str, Any]]:
    genotypes: dict[Any, list[str]] = {}
    for genotype, name in phenotype_map.items():
        genotypes.setdefault(str(name), []).append(genotype)
    return [{"name": name, "genotypes": found} for name, found in genotypes.items()]


# -- GWAS --------------------------------------------------------------------------------------------------------------

_STATUS_OF_JOB = {"queued": "pending", "processing": "running", "canceled": "cancelled"}


class DatasetMetadata(Part):
    """What the genotype file tells."""

    chromosomes: list[int | str] = Field(default_factory=list)
    build: str | None = None


class GwasDataset(Document):
    """A dropped or uploaded genotype file with its phenotypes."""

    collection = "gwas_datasets"
    field_aliases = {
        "id": "_id", "file_format": "file_type", "file_path": "storage_path", "s3_key": "storage_path",
        "num_snps": "snp_count", "num_samples": "sample_count", "error_message": "error",
    }  # fmt: skip
    word_aliases = {"status": {"uploading": "pending", "ready": "processed"}}

    id: Identifier = Field(default_factory=ObjectId, validation_alias="_id", serialization_alias="_id")
    user_id: Identifier
    name: ShortText
    file_type: Literal["vcf", "bcf", "plink", "23andme", "custom"]
    status: DatasetStatus = "pending"
    storage_path: Annotated[str, Field(pattern=r"^gwas-datasets/[^/]+/[^/]+/raw/[^/]+$")]
    snp_count: Count | None = None
    sample_count: Count | None = None
    created_at: Moment
    processed_at: Moment | None = None
    metadata: DatasetMetadata = Field(default_factory=DatasetMetadata)
    error: str | None = addition()
    updated_at: Moment | None = addition()
    description: str | None = addition()
    trait_type: Literal["quantitative", "binary"] | None = addition()
    trait_name: str | None = addition()
    size_bytes: Count | None = addition()
    deleting_since: Moment | None = addition(
        description="Set when the deletion of the dataset began; nothing may be added to it any more."
    )


class JobParameters(Part):
    """What a run was asked to do."""

    maf_threshold: Annotated[float, Field(ge=0, le=0.5)] | None = None
    num_threads: Annotated[int, Field(ge=1)] | None = None
    max_missing: Share | None = addition()
    max_sample_missing: Share | None = addition()
    hwe_threshold: Share | None = addition()
    heterozygosity_deviations: Annotated[float, Field(ge=0)] | None = addition()
    principal_components: Count | None = addition()
    missing: Literal["complete", "mean"] | None = addition()
    engine: Literal["native", "plink2"] | None = addition()
    significance_threshold: Share | None = addition()


class GwasJob(Document):
    """One analysis of a dataset, in the states pending, running, and completed, failed or cancelled."""

    collection = "gwas_jobs"
    field_aliases = {
        "id": "_id", "error_message": "error", "phenotype": "phenotype_column",
        "execution_time_seconds": "wall_seconds",
    }  # fmt: skip
    word_aliases = {"status": _STATUS_OF_JOB}

    id: Identifier = Field(default_factory=ObjectId, validation_alias="_id", serialization_alias="_id")
    user_id: Identifier
    dataset_id: Identifier
    status: JobStatus = "pending"
    analysis_type: AnalysisType
    parameters: JobParameters = Field(default_factory=JobParameters)
    created_at: Moment
    started_at: Moment | None = None
    completed_at: Moment | None = None
    error: str | None = None
    result_id: Identifier | None = None
    error_kind: str | None = addition(description="Why the job ended, as one word; see `jobs.endings`.")
    progress: Annotated[float, Field(ge=0, le=100)] | None = addition(description="In per cent.")
    phase: str | None = addition()
    phenotype_column: str | None = addition()
    covariates: list[str] | None = addition()
    snps_tested: Count | None = addition()
    significant_snps: Count | None = addition()
    wall_seconds: Annotated[float, Field(ge=0)] | None = addition()
    cpu_seconds: Annotated[float, Field(ge=0)] | None = addition()
    run_id: str | None = addition()
    run_key: str | None = addition(description="What the run was asked for; attempts at it share it.")
    partition_key: str | None = addition()
    attempt: Annotated[int, Field(ge=1)] | None = addition()
    rerun_of: Identifier | None = addition(description="The attempt before.")
    worker: str | None = addition(description="Host and process that works, or worked, on the job.")
    heartbeat_at: Moment | None = addition()

    @classmethod
    def _adapted(cls, values: dict[str, Any]) -> dict[str, Any]:
        flat = {
            name: values.pop(name) for name in ("maf_threshold", "significance_threshold") if name in values
        }
        if flat:
            given = values.get("parameters")
            values["parameters"] = {**flat, **(given if isinstance(given, Mapping) else {})}
        return values


class Association(Part):
    """One tested variant; `p_value` is 0 where it is too small for a float, `neg_log10_p` never fails."""

    rsid: str
    chromosome: int | str
    position: Annotated[int, Field(gt=0)]
    ref_allele: str
    alt_allele: str
    beta: float | None = None
    se: Annotated[float, Field(ge=0)] | None = None
    t_stat: float | None = None
    p_value: Share | None = None
    maf: Annotated[float, Field(ge=0, le=0.5)] | None = None
    n_samples: Annotated[int, Field(gt=0)] | None = None
    effect_allele: str | None = addition()
    neg_log10_p: Annotated[float, Field(ge=0)] | None = addition()
    odds_ratio: Annotated[float, Field(ge=0)] | None = addition()
    ci_lower: float | None = addition()
    ci_upper: float | None = addition()
    nearest_gene: str | None = addition()
    consequence: str | None = addition()


class ResultSummary(Part):
    """A scan in numbers."""

    total_snps_tested: Count
    significant_snps_bonferroni: Count
    significant_snps_fdr: Count
    genomic_inflation_lambda: Annotated[float, Field(ge=0)] | None = None
    mean_chi_square: Annotated[float, Field(ge=0)] | None = None
    median_p_value: Share | None = None


class ManhattanChromosome(Part):
    """The thinned points of one chromosome; the three lists are parallel."""

    chr: int | str
    positions: list[int]
    p_values: list[float]
    labels: list[str | None]

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        if not len(self.positions) == len(self.p_values) == len(self.labels):
            raise ValueError("positions, p_values and labels differ in length")
        return self


class ManhattanPlotData(Part):
    """The thinned points of a Manhattan plot."""

    chromosomes: list[ManhattanChromosome] = Field(default_factory=list)


class QqPlotData(Part):
    """The thinned points of a QQ plot, as -log10 p."""

    expected: list[float] = Field(default_factory=list)
    observed: list[float] = Field(default_factory=list)
    genomic_inflation_lambda: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        if len(self.expected) != len(self.observed):
            raise ValueError("expected and observed differ in length")
        return self


class GwasResult(Document):
    """What a job found: numbers, plot data and top hits; the full table is the Parquet file at `associations_path`."""

    collection = "gwas_results"
    natural_key = ("job_id",)
    field_aliases = {"id": "_id"}

    job_id: Identifier
    user_id: Identifier
    dataset_id: Identifier
    summary: ResultSummary
    manhattan_plot_data: ManhattanPlotData = Field(default_factory=ManhattanPlotData)
    qq_plot_data: QqPlotData = Field(default_factory=QqPlotData)
    top_hits: Annotated[list[Association], Field(max_length=MAX_TOP_HITS)] = Field(default_factory=list)
    created_at: Moment
    associations_path: Annotated[str, Field(pattern=r"^gwas-results/[^/]+/[^/]+/[^/]+$")] | None = addition()
    phenotype: str | None = addition()


# -- university --------------------------------------------------------------------------------------------------------


class Lesson(Part):
    """A lesson of a module."""

    title: ShortText
    content: str | None = addition()


class CourseModule(Part):
    """A module of a course."""

    field_aliases = {"_id": "id"}

    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: ShortText
    lessons: list[Lesson] = Field(default_factory=list)


class UniversityCourse(Document):
    """A course of the university."""

    collection = "university_courses"
    natural_key = ("slug",)
    field_aliases = {"id": "_id", "short_description": "description"}

    slug: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: ShortText
    description: str = ""
    level: Literal["beginner", "intermediate", "advanced"] | None = None
    tags: list[str] = Field(default_factory=list)
    modules: list[CourseModule] = Field(default_factory=list)
    created_at: Moment | None = None
    updated_at: Moment | None = addition()


class UniversityEnrollment(Document):
    """That a user takes a course, and how far they got."""

    collection = "university_enrollments"
    natural_key = ("user_id", "course_slug")
    field_aliases = {"id": "_id", "created_at": "enrolled_at"}

    user_id: Identifier
    course_slug: Annotated[str, Field(min_length=1, max_length=200)]
    status: Literal["active", "completed", "dropped"] = "active"
    progress: Annotated[float, Field(ge=0, le=100)] = 0.0
    enrolled_at: Moment
    completed_at: Moment | None = None


MODELS: dict[str, type[Document]] = {
    model.collection: model
    for model in (
        User, Trait, Conversation, GwasDataset, GwasJob, GwasResult, UniversityCourse, UniversityEnrollment,
    )
}  # fmt: skip
