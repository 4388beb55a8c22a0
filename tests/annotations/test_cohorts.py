"""Cohorts as their users see them: files that other programs read, what they hold, and what is told of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pyarrow.parquet as pq
import pytest

from genomics_assets.annotations import bgzf_writer, cohort
from genomics_assets.definitions import build_definitions
from genomics_assets.variants import assets as variants
from genomics_assets.variants.container import check_blocks
from resources import default_resources

FAMILY = """##fileformat=VCFv4.2
##reference=GRCh38
##FILTER=<ID=LowQual,Description="">
##FILTER=<ID=LowDP,Description="">
##contig=<ID=2,length=1000000>
##contig=<ID=10,length=1000000>
##contig=<ID=X,length=1000000>
##INFO=<ID=CLNSIG,Number=.,Type=String,Description="">
##INFO=<ID=END,Number=1,Type=Integer,Description="">
##FORMAT=<ID=GT,Number=1,Type=String,Description="">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	Ada	Bea
10	100	rs1	A	G	50	PASS	CLNSIG=Pathogenic	GT	0/1	0/0
10	200	.	C	T	.	LowQual;LowDP	CLNSIG=Benign	GT	0/0	1/1
10	300	rs3	G	A,GTT	12.5	.	.	GT	1/2	0/0
2	500	.	N	<DEL>	.	PASS	END=5000	GT	0/1	./.
2	100	rs5	T	C	99	PASS	CLNSIG=Pathogenic,_low_penetrance	GT	0/0	0/0
X	7	rs6	A	C	1	PASS	.	GT	0/0	0/1
"""
SINGLE = """##fileformat=VCFv4.2
##reference=GRCh38
##contig=<ID=chr22,length=1000000>
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO
chr22	40	rs22	A	T	.	PASS	.
"""
GNOMAD = [
    {"field": "AF", "alias": "af", "type": "real", "description": "Frequency, 100% made up"},
    {"field": "AC", "alias": "ac", "type": "bigint"},
]
CLINVAR = [
    {"field": "SIG", "alias": "sig", "type": "text"},
    {"field": "OK", "alias": "reviewed", "type": "boolean"},
]
ALL = [
    ("chr2", 100, "T", "C"), ("chr2", 500, "N", "<DEL>"), ("chr10", 100, "A", "G"), ("chr10", 200, "C", "T"),
    ("chr10", 300, "G", "A"), ("chr10", 300, "G", "GTT"), ("chr22", 40, "A", "T"), ("chrX", 7, "A", "C"),
]  # fmt: skip


class Lab:
    """A warehouse with two dropped files and two annotation sources, and cohorts that are cut out of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.inbox, self.objects = folder / "inbox", folder / "objects"
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = default_resources(
            postgres_url=url, inbox_url=str(self.inbox), object_store_url=f"file://{self.objects}"
        )
        self.definitions = build_definitions(**self.resources)

    def load(self, name: str, text: str, sidecar: str | None = None) -> None:
        folder = self.inbox / "vcf"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.vcf").write_text(text)
        if sidecar:
            (folder / f"{name}.yaml").write_text(sidecar)
        self.instance.add_dynamic_partitions("vcf_files", [name])
        # What a cohort is made of; the lake and the checks take their time.
        loaded = [
            variants.vcf_files,
            variants.variants,
            variants.samples,
            variants.genotypes,
            variants.variant_summary,
        ]
        assert dg.materialize(
            loaded, resources=self.resources, instance=self.instance, partition_key=name
        ).success

    def add_source(self, name: str, fields: list[dict[str, str]], rows: Sequence[tuple[Any, ...]]) -> None:
        with psycopg.connect(self.url) as connection:
            columns = ", ".join(f"{field['alias']} {field['type']}" for field in fields)
            connection.execute(
                f"CREATE TABLE genomics.anno_{name} (chrom genomics.chromosome_type, pos bigint, ref text, alt text, "  # type: ignore[arg-type]
                f"{columns}, PRIMARY KEY (chrom, pos, ref, alt))"
            )
            places = ", ".join(["%s"] * (4 + len(fields)))
            connection.cursor().executemany(f"INSERT INTO genomics.anno_{name} VALUES ({places})", rows)
            connection.execute(
                "INSERT INTO genomics.annotation_sources (name, version, field_config) VALUES (%s, '2026-01-04', %s)",
                (name, json.dumps(fields)),
            )

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def cut(self, name: str, expression: str = "true", **config: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def("filter_cohort")
        asked = {"name": name, "expression": expression, **config}
        return job.execute_in_process(
            instance=self.instance,
            run_config={"ops": {"annotations__filtered_cohort": {"config": asked}}},
            raise_on_error=False,
        )

    def keys(self, name: str, expression: str = "true", **config: Any) -> list[tuple[Any, ...]]:
        """The rows of a cohort by their keys, as the Parquet file has them; without a run, which takes its time."""
        regions = cohort.parse_regions(config.pop("regions", ()))
        self.resources["cohorts"].write(cohort.CohortRequest(name, expression, regions, **config), "no run")
        rows = pq.read_table(self.objects / "cohorts" / name / "variants.parquet").to_pylist()
        return [(row["chrom"], row["pos"], row["ref"], row["alt"]) for row in rows]

    def file(self, name: str, file: str) -> Path:
        return self.objects / "cohorts" / name / file


def failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    return str(data.description) if data else str(event.step_failure_data.error)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node("annotations__filtered_cohort")
    return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture(scope="module")
def lab(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), postgres_url)
    lab.load("family", FAMILY.replace("rs1\t", "rs111\t"))
    lab.load("family", FAMILY)
    lab.load("single", SINGLE, "sample_id: Cyd\n")
    lab.add_source(
        "gnomad",
        GNOMAD,
        [
            ("chr10", 100, "A", "G", 0.01, 3), ("chr10", 200, "C", "T", 0.5, 2**40), ("chr2", 100, "T", "C", 0.001, 1),
            ("chr10", 300, "G", "GTT", 0.002, 1), ("chr10", 300, "G", "C", 0.9, 1),
        ],
    )  # fmt: skip
    lab.add_source(
        "clinvar",
        CLINVAR,
        [
            ("chr10", 100, "A", "G", "Pathogenic", True), ("chr2", 100, "T", "C", "a=b;c,100%:d e\tf", False),
            ("chr22", 40, "A", "T", "Pathogenic", None),
        ],
    )  # fmt: skip
    yield lab
    lab.resources["postgres"].close()


def test_every_current_variant_once_in_the_order_of_a_genome(lab: Lab) -> None:
    # What a load left that no file stands on any more.
    lab.execute(
        "INSERT INTO genomics.variants (chrom, pos_range, pos, end_pos, ref, alt, load_batch_id) "
        "VALUES ('chr1', '[5,6)', 5, 5, 'A', 'C', gen_random_uuid())"
    )
    assert lab.keys("all") == ALL
    table = pq.read_table(lab.file("all", "variants.parquet"))
    assert "rs111" not in table["rs_id"].to_pylist()
    row = table.slice(2, 1).to_pylist()[0]
    assert (row["rs_id"], row["filter"], row["clinvar_sig"]) == ("rs1", "PASS", "Pathogenic")
    assert (row["gnomad.af"], row["gnomad.ac"]) == (pytest.approx(0.01), 3)
    assert (row["clinvar.sig"], row["clinvar.reviewed"]) == ("Pathogenic", True)
    assert table.slice(3, 1)["filter"].to_pylist() == ["LowQual;LowDP"]
    assert table.slice(6, 1)["sample_id"].to_pylist() == ["Cyd"]
    assert table.schema.field("gnomad.af").metadata[b"description"] == b"Frequency, 100% made up"


def test_csv_holds_the_same(lab: Lab) -> None:
    lab.keys("all")
    table = pq.read_table(lab.file("all", "variants.parquet"))
    with lab.file("all", "variants.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == table.column_names
    assert [(r["chrom"], int(r["pos"]), r["ref"], r["alt"]) for r in rows] == ALL
    for told, row in zip(rows, table.to_pylist(), strict=True):
        assert told["clinvar.sig"] == (row["clinvar.sig"] or "")
        assert (float(told["gnomad.af"]) if told["gnomad.af"] else None) == pytest.approx(row["gnomad.af"])


@pytest.mark.skipif(
    shutil.which("bcftools") is None, reason="bcftools, which reads the VCF here, is not installed"
)
def test_bcftools_reads_the_vcf_without_a_complaint(lab: Lab, tmp_path: Path) -> None:
    lab.keys("all")
    path = lab.file("all", "variants.vcf.gz")
    fields = "%CHROM %POS %ID %REF %ALT %QUAL %FILTER %INFO/gnomad.af %INFO/clinvar.sig %INFO/clinvar.reviewed %INFO/END"
    told = subprocess.run(
        ["bcftools", "query", "-f", f"{fields.replace(' ', '|')}\\n", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stderr == ""
    lines = [line.split("|") for line in told.stdout.splitlines()]
    assert [(line[0], int(line[1]), line[3], line[4]) for line in lines] == ALL
    assert lines[0][2:] == ["rs5", "T", "C", "99", "PASS", "0.001", "a%3Db%3Bc%2C100%25:d e%09f", ".", "."]
    assert lines[1][9:] == [".", "5000"]
    assert lines[2][7:] == ["0.01", "Pathogenic", "1", "."]
    assert lines[3][5:7] == [".", "LowQual;LowDP"]
    viewed = subprocess.run(
        ["bcftools", "view", "-Ob", "-o", str(tmp_path / "all.bcf"), str(path)], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert viewed.stderr == ""
    # An index can be made only of BGZF that is sorted.
    subprocess.run(["bcftools", "index", "-o", str(tmp_path / "all.csi"), str(path)], check=True)


def test_the_vcf_is_whole_bgzf_with_its_history_in_the_header(lab: Lab) -> None:
    lab.keys("headed", "gnomad.af < 0.01", regions=["10"])
    path = lab.file("headed", "variants.vcf.gz")
    check_blocks(path)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0] == "##fileformat=VCFv4.3"
    assert {
        "##cohort=headed", "##cohort_expression=gnomad.af < 0.01", "##cohort_regions=chr10", "##reference=GRCh38",
        "##annotation_source=clinvar 2026-01-04", "##contig=<ID=chr10>",
        '##INFO=<ID=gnomad.af,Number=1,Type=Float,Description="Frequency, 100% made up">',
        '##INFO=<ID=clinvar.reviewed,Number=0,Type=Flag,Description="">',
    } <= set(lines)  # fmt: skip
    assert "##contig=<ID=chr2>" not in lines
    # VCF's integers have 32 bits.
    assert not any("gnomad.ac=1099511627776" in line for line in lines)


@pytest.mark.parametrize(
    ("expression", "kept", "undecided"),
    [
        # 0.01 is what the source wrote, in single precision: not below itself.
        ("gnomad.af < 0.01", [ALL[0], ALL[5]], 4),
        ("gnomad.af <= 0.01 and clinvar.sig == 'Pathogenic'", [ALL[2]], 5),
        ("gnomad.af == 0.01", [ALL[2]], 4),
        ("gnomad.af is null or gnomad.af < 0.01", [ALL[i] for i in (0, 1, 4, 5, 6, 7)], 0),
        ("not gnomad.af < 0.01", [ALL[2], ALL[3]], 4),
        ("clinvar_sig in ['Pathogenic', 'Benign']", [ALL[2], ALL[3]], 5),
        ("clinvar_sig like 'Patho%' && filter == 'PASS'", [ALL[0], ALL[2]], 5),
        ("filter like '%LowDP%'", [ALL[3]], 2),
        ("ac > 1000000000000", [ALL[3]], 4),
        ("clinvar.reviewed or chrom == 'chrX'", [ALL[2], ALL[7]], 5),
        ("sig == 'a=b;c,100%:d e\tf'", [ALL[0]], 5),
        ("variant_type not in ['snp'] and pos between 300 and 500", [ALL[1], ALL[5]], 0),
        ("qual > 12.4 and qual < 12.6", [ALL[4], ALL[5]], 3),
        ("rs_id == '''; drop table genomics.variants; --'", [], 2),
        ("rs_id == '%s %(x)s {} $1'", [], 2),
        ("false", [], 0),
    ],
)
def test_an_expression_keeps_what_it_says(
    lab: Lab, expression: str, kept: list[tuple[Any, ...]], undecided: int
) -> None:
    assert lab.keys("chosen", expression) == kept
    manifest = json.loads(lab.file("chosen", "cohort.json").read_text())
    assert (manifest["variants"], manifest["considered"], manifest["undecided"]) == (len(kept), 8, undecided)


@pytest.mark.parametrize(
    ("regions", "kept"),
    [
        (["chr10"], ALL[2:6]),
        (["10:100-200"], ALL[2:4]),
        (["chr10:301-400"], []),
        # In the middle of the deletion.
        (["2:4,000-4,001"], [ALL[1]]),
        (["chrX:1-7", "2:1-100"], [ALL[0], ALL[7]]),
    ],
)
def test_regions_take_what_overlaps_them(lab: Lab, regions: list[str], kept: list[tuple[Any, ...]]) -> None:
    assert lab.keys("around", regions=regions) == kept


def test_samples_take_what_one_of_them_carries_and_stay_unnamed(lab: Lab) -> None:
    assert lab.keys("ada", samples=("Ada",)) == [ALL[1], ALL[2], ALL[4], ALL[5]]
    assert lab.keys("two", samples=("Bea", "Cyd")) == [ALL[3], ALL[6], ALL[7]]
    result = lab.cut("ada", "pos > 0", samples=["Ada", "Cyd"])
    told = "\n".join(str(event) for event in result.all_events) + lab.file("ada", "cohort.json").read_text()
    told += gzip.decompress(lab.file("ada", "variants.vcf.gz").read_bytes()).decode()
    assert "Ada" not in told
    assert "Cyd" not in told
    unknown = failure(lab.cut("ada", samples=["Ada", "Zoe"]))
    assert "1 of the 2 samples that are asked for are unknown" in unknown
    assert "Zoe" not in unknown


def test_the_run_tells_what_came_of_it(lab: Lab) -> None:
    told = metadata(lab.cut("told", "gnomad.af < 0.01 && clinvar.sig != 'Benign'"))
    assert told["dagster/row_count"] == 1
    assert (told["considered"], told["undecided"]) == (8, 5)
    assert "gnomad.af < 0.01 and clinvar.sig != 'Benign'" in told["expression"]
    assert '"anno_gnomad"."af" < %s::double precision' in told["sql"]
    assert "Benign" not in told["sql"]
    assert "rs5" in told["preview"]
    assert "sample_id" not in told["preview"]
    assert told["by chromosome and type"].startswith("![")
    assert told["bytes"] == sum(lab.file("told", name).stat().st_size for name in cohort.FILE_NAMES.values())


def test_the_same_name_replaces_and_leaves_nothing_of_the_old(lab: Lab) -> None:
    lab.keys("again")
    assert lab.keys("again", "pos == 7", formats=("parquet", "csv")) == [ALL[7]]
    assert sorted(path.name for path in lab.file("again", "").iterdir()) == [
        "cohort.json", "variants.csv", "variants.parquet",
    ]  # fmt: skip
    manifest = json.loads(lab.file("again", "cohort.json").read_text())
    for file in manifest["files"].values():
        content = (lab.objects / file["key"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_cohort_that_fails_half_way_leaves_the_old_one_untouched(lab: Lab) -> None:
    lab.keys("kept", "pos == 7")
    before = {path.name: path.read_bytes() for path in lab.file("kept", "").iterdir()}
    lab.execute("CREATE TABLE genomics.anno_broken_rows AS SELECT * FROM genomics.anno_gnomad")
    # The server gives rows up to here, then fails.
    lab.execute(
        "CREATE VIEW genomics.anno_broken AS SELECT chrom, pos, ref, alt, 1 / (pos - 300)::integer AS af "
        "FROM genomics.anno_broken_rows"
    )
    lab.execute(
        "INSERT INTO genomics.annotation_sources (name, field_config) "
        """VALUES ('broken', '[{"field": "AF", "alias": "af", "type": "integer"}]')"""
    )
    try:
        result = lab.cut("kept")
        assert not result.success
        assert "division by zero" in str(result.all_events)
    finally:
        lab.execute("DELETE FROM genomics.annotation_sources WHERE name = 'broken'")
        lab.execute("DROP VIEW genomics.anno_broken")
    assert {path.name: path.read_bytes() for path in lab.file("kept", "").iterdir()} == before


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "../escape"}, "cannot name a folder"),
        ({"name": "Capital"}, "cannot name a folder"),
        ({"name": ""}, "cannot name a folder"),
        ({"name": "x" * 65}, "cannot name a folder"),
        ({"name": "a", "expression": "gnomad.aff < 1"}, "write gnomad.af"),
        ({"name": "a", "expression": "sample_id == 'Ada'"}, "unknown column 'sample_id'"),
        ({"name": "a", "expression": "1 == 1; drop table x"}, "unexpected ';'"),
        ({"name": "a", "formats": ["bam"]}, "unknown format 'bam'"),
        ({"name": "a", "formats": []}, "no format"),
        ({"name": "a", "formats": ["csv", "csv"]}, "twice"),
        ({"name": "a", "regions": ["chr1:9-3"]}, "has no bases"),
        ({"name": "a", "regions": [" "]}, "is no region"),
        ({"name": "a", "regions": ["chr1 or true"]}, "is no region"),
    ],
)
def test_what_cannot_be_used_is_told_and_not_tried_again(lab: Lab, config: dict[str, Any], says: str) -> None:
    result = lab.cut(config.pop("name"), **config)
    assert says in failure(result)
    assert "Remedy: " in failure(result)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert not (lab.objects / "escape").exists()


def test_blocks_hold_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    content = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(10_000))
    with path.open("wb") as file, bgzf_writer.BgzfWriter(file) as out:
        for start in range(0, len(content), 7_777):
            out.write(content[start : start + 7_777])
    assert check_blocks(path) == 6
    assert gzip.decompress(path.read_bytes()) == content
