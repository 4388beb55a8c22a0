"""The two engines give the same table, the same tally and the same errors, and the native one does its share.

`ordinary/` holds lines as well-known tools write them; the native engine must take every one of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomics_assets.input_error import InputError
from genomics_assets.variants.alleles import ReferenceFasta
from genomics_assets.variants.info import InfoReason
from genomics_assets.variants.reader import ReadOptions, Tally, VariantStream, native_scanner
from genomics_assets.variants.record import FREQUENCY_KEYS, RecordParser

pytestmark = pytest.mark.skipif(
    native_scanner() is None, reason="the native scanner is not built: `pip install -e .` needs a C compiler"
)

BATCH = UUID("00000000-0000-4000-8000-000000000001")
ORDINARY = sorted((Path(__file__).parent / "ordinary").glob("*.vcf"))


def vcf_text(meta: list[str], samples: list[str], records: list[str]) -> bytes:
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    if samples:
        columns += ["FORMAT", *samples]
    return ("\n".join(["##fileformat=VCFv4.2", *meta, "\t".join(columns), *records]) + "\n").encode()


def read(path: Path, engine: str, **options: Any) -> tuple[Tally, pa.Table, list[dict[str, Any]]]:
    stream = VariantStream(path, options=ReadOptions(BATCH, engine=engine, **options))  # type: ignore[arg-type]
    table = pa.Table.from_batches(stream.batches(), stream.schema)
    table.validate(full=True)
    packed = [row for batch in stream.genotype_batches() for row in batch.to_pylist()]
    return stream.tally, table, packed


def outcome(path: Path, engine: str, **options: Any) -> Any:
    try:
        return read(path, engine, **options)
    except InputError as error:
        return str(error)


def assert_twins(path: Path, **options: Any) -> Any:
    """Both engines agree on everything that a user could see; gives what they agree on."""
    native, python = outcome(path, "native", **options), outcome(path, "python", **options)
    if isinstance(native, str) or isinstance(python, str):
        assert native == python
        return native
    assert native[0] == python[0]
    for row, (ours, reference) in enumerate(zip(native[1].to_pylist(), python[1].to_pylist(), strict=True)):
        assert ours == reference, f"row {row}"
    assert native[1].equals(python[1])
    assert native[2] == python[2]
    return native


def lines_asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that the reference is asked for from now on."""
    asked: list[bytes] = []

    def listen(method: Callable[..., Any]) -> Callable[..., Any]:
        def heard(self: RecordParser, line: bytes, number: int) -> Any:
            asked.append(line)
            return method(self, line, number)

        return heard

    for name in ("parse", "parse_genotypes"):
        monkeypatch.setattr(RecordParser, name, listen(getattr(RecordParser, name)))
    return asked


# -- ordinary files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ORDINARY, ids=lambda path: path.stem)
def test_ordinary_files_are_read_natively_and_alike(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally, table, _ = assert_twins(path)
    assert table.num_rows == tally.loaded > 0
    asked = lines_asked(monkeypatch)
    read(path, "native")
    assert asked == []


@pytest.mark.parametrize(
    "options", [{"genome": "other"}, {"genotypes": False}, {"sample_id": "S1"}], ids=list
)
def test_options_mean_the_same(options: dict[str, Any]) -> None:
    for path in ORDINARY:
        _, table, packed = assert_twins(path, **options)
        if "sample_id" in options:
            assert table["sample_id"].unique().to_pylist() == ["S1"]
        if path.stem == "vep":
            contigs = ["1", "MT"] if "genome" in options else ["chr1", "chrM"]
            assert table["chrom"].unique().to_pylist() == contigs
        if path.stem == "gatk_haplotype_caller":
            assert packed
            assert (table["n_het"].null_count == table.num_rows) == ("genotypes" in options)


def test_windows_line_ends_stay_native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ORDINARY:
        path = tmp_path / source.name
        path.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
        tally, *_ = assert_twins(path)
        assert tally.noted["crlf_line_ends"] == tally.records
    asked = lines_asked(monkeypatch)
    read(path, "native")
    assert asked == []


def test_indels_are_aligned_alike(tmp_path: Path) -> None:
    fasta = tmp_path / "r.fa"
    fasta.write_text(">chr1\n" + "GCACACACATTTTTTG" * 8 + "\n")
    records = ["5 . ACA A", "9 . A AT,C", "15 . TG T", "3 . A G", "3 . T TA"]
    path = tmp_path / "a.vcf"
    path.write_bytes(vcf_text([], [], [f"chr1 {record} . . .".replace(" ", "\t") for record in records]))
    tally, table, _ = assert_twins(path, reference=ReferenceFasta(fasta))
    assert table["pos"].to_pylist()[0] == 1
    # the last one's REF is not what the FASTA holds
    assert tally.noted["not_left_aligned"] == 1


def test_picks_are_the_ones_that_the_order_names() -> None:
    """What the twins agree on is right: one look at answers that a reader can check by hand."""
    path = next(path for path in ORDINARY if path.stem == "vep")
    _, table, _ = assert_twins(path)
    genes = dict(zip(table["pos"].to_pylist(), table["gene"].to_pylist(), strict=True))
    assert (genes[72_000], genes[73_000]) == ("C", "C")
    spanning = [row for row in table.to_pylist() if row["pos"] == 71_000]
    assert [(row["alt"], row["consequence"]) for row in spanning] == [
        ("T", "frameshift_variant"),
        ("*", "coding_sequence_variant"),
    ]


def test_one_scanner_serves_several_threads() -> None:
    path = next(path for path in ORDINARY if path.stem == "gatk_haplotype_caller")
    stream = VariantStream(path, options=ReadOptions(BATCH, engine="native"))
    scanner = stream._scanner()
    records = [line for line in path.read_bytes().splitlines(keepends=True) if not line.startswith(b"#")]
    chunks = [b"".join(records[number:] * 400) for number in range(len(records))]
    alone = [{k: bytes(v[2]) for k, v in scanner.scan(chunk)["columns"].items()} for chunk in chunks]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(scanner.scan, chunks))
    assert [{k: bytes(v[2]) for k, v in scanned["columns"].items()} for scanned in together] == alone


# -- oddities ------------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return text.split()


def declare(name: str, number: str, of_type: str) -> str:
    return f'##INFO=<ID={name},Number={number},Type={of_type},Description="{name}, as ever">'


ODD_META = [
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="From Ensembl VEP. Format: Allele|Consequence|IMPACT|'
    'SYMBOL|Gene|Feature_type|Feature|BIOTYPE|HGVSc|HGVSp|CANONICAL|PICK|gnomADe_AF">',
    "##INFO=<ID=ANN,Number=.,Type=String,Description=\"Functional annotations: 'Allele | Annotation | "
    "Annotation_Impact | Gene_Name | Gene_ID | Feature_Type | Feature_ID | Transcript_BioType | HGVS.c | "
    "HGVS.p | Rank | Distance | ERRORS / WARNINGS / INFO' \">",
    '##INFO=<ID=BCSQ,Number=.,Type=String,Description="From BCFtools/csq. Format: '
    'Consequence|gene|transcript|biotype|strand|amino_acid_change|dna_change">',
    *(
        declare(number + kind[0], number, kind)
        for number in "1ARG"
        for kind in ("Integer", "Float", "String")
    ),
    declare("LI", ".", "Integer"),
    declare("LS", ".", "String"),
    declare("TWO", "2", "Float"),
    declare("CH", "1", "Character"),
    declare("FL", "0", "Flag"),
    declare("ODD", "0", "String"),
    declare("gnomAD_AF", "A", "Float"),
    declare("CLNSIG", ".", "String"),
    declare("CLNREVSTAT", ".", "String"),
    "##contig=<ID=chr1,length=100000>",
    "##contig=<ID=HLA-A*01:01:01:01>",
    '##FILTER=<ID=q10,Description="Quality below 10">',
]
ODD_SAMPLES = ["a", "b", "c"]
ODD_CONTIGS = ["1", "Chr1", "chrMT", "chrUn_x", "HLA-A*01:01:01:01", "é1"]
ODD_POSITIONS = ["0", "100000", "100001", "100002", "0042", "5"]
ODD_IDS = ["rs1", "x;rs22", "rs5;y", "rsX", ";rs7", "a;.", ".;rs3", "rs4;", ""]
ODD_REFS = ["a", "acg", "R", "ACGTACGT" * 9, "N"]
ODD_QUALITIES = [".", "1e3", "nan", "inf", "+3", "-1", "0.1234567890123456789", "1e39"]
ODD_FILTERS = [".", "q10", "q10;PASS", "new", "q10;new", "q10;", ""]
NUMBERS = words("0 1 -7 42 3.5 -0.25 1e-5 2E+3")
ODD_NUMBERS = [
    *NUMBERS,
    *words("6.57030e-06 0.30460000000000001 1e-300 1e400 123456789012345678901234567890 .5 1. +5 007 -0"),
    *words("nan NaN -inf Infinity . x 1_000 0x10 1e12345 True 5% 1-2 3.4028235e38 3.5e38 16777217 1e-46"),
    "",
]
TEXTS = [
    *("a", "b c", 'say "hi"', "back\\slash", "Sjögren", "%3B", ".", "", "x" * 70, "<b>"),
    *("\x7f", "\x01", "a|b", "=", "a=b"),
]
ODD_ALTS = [
    *words("A C G T AC ACG ACGT GGGG a acgT N R * <*> <NON_REF> <DEL> <DUP> <INS> <DEL:ME:ALU> <CN0>"),
    *words("<weird#name> ]1:10]A A[chr1:22[ A[<ctg>:22[ .A AC. I D"),
]
ENTRIES = [
    "A|missense_variant|MODERATE|G0|E0|Transcript|T0|pc|c.1|p.1|||",
    "A|missense_variant|MODERATE|G1|E1|Transcript|T1|pc|c.1|p.1|YES||",
    "A|missense_variant|MODERATE|G2|E2|Transcript|T2|pc|c.1|p.1||1|",
    "C|stop_gained&splice_region_variant|HIGH||E3|Transcript|T3|pc|||||0.1",
    "-|frameshift_variant|HIGH|G4|E4|Transcript|T4|pc|||||",
    "CG|no_such_term|MODIFIER|G5|E5|Transcript|T5|pc|||||",
    "T||MODIFIER|G6|||||||||",
    "T|intron_variant|MODIFIER|" + "G" * 120 + "|E|Transcript|T|pc|" + "c" * 300 + "||||",
    "T|" + "&".join(["non_coding_transcript_exon_variant"] * 5) + "|MODIFIER|.|.|.|.|.|||||",
    "deletion|transcript_ablation|HIGH|G|E|Transcript|T|pc|||||",
    "a|synonymous_variant|LOW|G|E|Transcript|T|pc|||||",
    "G|too|few",
    "",
]
BCSQ_ENTRIES = [
    "missense|G|T|pc|+|1A>1V|5A>T",
    "*frameshift|G|T|pc",
    "@105",
    "intron|G||pc",
    "synonymous|G|T|pc|-|2R|1A>C",
]
EXTRA_INFO = [
    *words("FL FL=1 ODD ODD=2 LI=1,2,. LI= LI LS=a,b,. TWO=1,2 TWO=. CH=x CH=, NEW NEW=a,b NEW=. END=5"),
    *words("END=90000 END=. END=x SVLEN=-50 SVLEN=1,2 gnomAD_AF=0.1 gnomAD_AF=. gnomAD_AF=0.1,0.2"),
    *words("AF_gnomad=0.3 AF_1KG=1e-3 CADD_phred=x CLNSIG=Benign CLNSIG=. _orig=1 . =5 FL 1I=5"),
    *("", '"=1', "k\\=2", "CLNSIG=" + "p" * 101),
    "CLNREVSTAT=criteria_provided,_multiple_submitters,_no_conflicts",
    *(f"{key}=0.{number + 1}" for keys in FREQUENCY_KEYS.values() for number, key in enumerate(keys)),
]
ODD_FORMATS = ["GT", "DP:GT:GQ", "DP", ".", "GQ:GT", "GT:AD:DP", ""]
CALLS = words("0/0 0/1 1|1 1|0 ./. . 0 1 ./1 1/. 0/1/1 |1 /0/1 2/1 0|2 .|. 1/1")
DEPTHS = words("5 . 70000 -1 1.5 x")
CALL_QUALITIES = words("9 . 45.5 99.49 300 -2 nan")


class OddRecords:
    """Seeded records that hold every oddity that a file may have, most of which load."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def record(self) -> str:
        alts = self._alts()
        columns = [
            self._mostly("chr1", ODD_CONTIGS),
            self._mostly(str(self._random.randint(1, 99_000)), ODD_POSITIONS),
            self._mostly(".", ODD_IDS),
            self._mostly(self._random.choice(["A", "C", "AC", "ACG"]), ODD_REFS),
            ",".join(alts) if self._random.random() > 0.04 else ".",
            self._mostly("50", ODD_QUALITIES),
            self._mostly("PASS", ODD_FILTERS),
            self._info(len(alts)),
            self._mostly("GT:DP:GQ", ODD_FORMATS),
        ]
        return "\t".join([*columns, *(self._sample(columns[8], len(alts)) for _ in ODD_SAMPLES)])

    def _mostly(self, usual: str, odd: list[str]) -> str:
        return usual if self._random.random() < 0.9 else self._random.choice(odd)

    def _alts(self) -> list[str]:
        count = self._random.choice([1, 1, 1, 1, 2, 2, 3, 5])
        usual = ["A", "C", "G", "T", "AC", "ACG", "AT"]
        return [self._mostly(self._random.choice(usual), ODD_ALTS) for _ in range(count)]

    def _sample(self, form: str, alts: int) -> str:
        call = self._random.choice(CALLS)
        values = {
            "GT": call.replace("2", "1") if alts < 2 else call,
            "DP": self._random.choice(DEPTHS),
            "GQ": self._random.choice(CALL_QUALITIES),
        }
        kept = [values.get(name, ".") for name in form.split(":")]
        return ":".join(kept[: self._random.choice([1, 2, 3, 3, 3])])

    def _values(self, pool: list[str], count: int) -> str:
        return ",".join(self._random.choice(pool) for _ in range(count))

    def _info(self, alts: int) -> str:
        expected = {"1": 1, "A": alts, "R": alts + 1, "G": (alts + 1) * (alts + 2) // 2}
        items = []
        for name in self._random.sample([n + k for n in "1ARG" for k in "IFS"], self._random.randint(0, 4)):
            count = expected[name[0]] if self._random.random() < 0.9 else self._random.randint(1, 4)
            pool = NUMBERS if self._random.random() < 0.8 else ODD_NUMBERS
            items.append(f"{name}={self._values(TEXTS if name[1] == 'S' else pool, count)}")
        items += self._random.sample(EXTRA_INFO, self._random.choice([0, 0, 1, 1, 2, 5]))
        for tag, pool, chance in (("CSQ", ENTRIES, 0.4), ("ANN", ENTRIES, 0.2), ("BCSQ", BCSQ_ENTRIES, 0.1)):
            if self._random.random() < chance:
                items.append(f"{tag}={self._values(pool, self._random.randint(1, 4))}")
        self._random.shuffle(items)
        return ";".join(items) or self._random.choice([".", ""])


def odd_records(seed: int, count: int, tmp_path: Path) -> list[str]:
    """Records that load, one by one."""
    made = OddRecords(seed)
    kept: list[str] = []
    path = tmp_path / "one.vcf"
    path.write_bytes(vcf_text(ODD_META, ODD_SAMPLES, []))
    header = VariantStream(path, options=ReadOptions(BATCH, engine="python")).header
    while len(kept) < count:
        record = made.record()
        try:
            RecordParser(header).parse(record.encode(), 1)
        except InputError:
            continue
        kept.append(record)
    return kept


@pytest.mark.parametrize(("genome", "seed", "copies"), [("human", 7, 5), ("other", 11, 1)])
def test_every_oddity_is_read_alike(
    genome: str, seed: int, copies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = odd_records(seed, 1_200, tmp_path) * copies
    path = tmp_path / "odd.vcf"
    path.write_bytes(vcf_text(ODD_META, ODD_SAMPLES, records))
    # More text than a chunk, so that places and numbers of handed-back lines are tried across chunks.
    assert copies == 1 or path.stat().st_size > 1 << 20
    tally, table, packed = assert_twins(path, genome=genome)
    assert tally.records == len(records)
    assert table.num_rows == tally.loaded == tally.alleles - sum(tally.skipped.values())
    assert packed
    # Without the oddities themselves the test would prove little.
    assert {*get_args(InfoReason), "cut_to_column_width", "annotation_without_allele"} <= set(tally.noted)
    asked = lines_asked(monkeypatch)
    read(path, "native", genome=genome)
    assert 0.1 < len(asked) / (2 * len(records)) < 0.9


WRONG_LINES = {
    "seven columns": "chr1 5 . A C . .",
    "a sample too many": "chr1 5 . A C . . . GT 0/1 0/1 0/1 0/1",
    "a sample too few": "chr1 5 . A C . . . GT 0/1 0/1",
    "POS is text": "chr1 x . A C . . . GT . . .",
    "POS is negative": "chr1 -5 . A C . . . GT . . .",
    "REF is a star": "chr1 5 . * C . . . GT . . .",
    "REF is empty": "chr1 5 .  C . . . GT . . .",
    "ALT is empty": "chr1 5 . A  . . . GT . . .",
    "ALT holds an empty allele": "chr1 5 . A C,,G . . . GT . . .",
    "ALT ends in a comma": "chr1 5 . A C, . . . GT . . .",
    "ALT is a digit": "chr1 5 . A 1 . . . GT . . .",
    "ALT is half a breakend": "chr1 5 . A A[chr1:5 . . . GT . . .",
    "ALT is half a symbol": "chr1 5 . A <DEL . . . GT . . .",
    "QUAL is text": "chr1 5 . A C high . . GT . . .",
    "QUAL is empty": "chr1 5 . A C  . . GT . . .",
    "GT beyond the ALTs": "chr1 5 . A C . . . GT 0/1 0/2 .",
    "GT is text": "chr1 5 . A C . . . GT 0/1 x .",
    "GT is empty": "chr1 5 . A C . . . GT 0/1  .",
    "GT has a hole": "chr1 5 . A C . . . GT 0/1 0/ .",
    "CHROM is empty": " 5 . A C . . . GT . . .",
    "a NUL byte": "chr1 5 . A C . . NEW=\0 GT . . .",
    "a header line": "##INFO=<ID=late>",
}


@pytest.mark.parametrize("line", WRONG_LINES.values(), ids=WRONG_LINES.keys())
def test_wrong_lines_fail_alike(line: str, tmp_path: Path) -> None:
    good = "chr1 5 . A C . . NEW GT 0/1 0/1 0/1"
    path = tmp_path / "wrong.vcf"
    records = [record.replace(" ", "\t") for record in (good, good, line, good)]
    path.write_bytes(vcf_text(ODD_META, ODD_SAMPLES, records))
    problem = assert_twins(path)
    assert isinstance(problem, str)
    assert f"wrong.vcf, line {len(ODD_META) + 5}:" in problem
    assert "Remedy: " in problem


# -- records nobody thought of -------------------------------------------------------------------------------

PIECES = [
    *words(". , ; = | : / < > [ ] * A nan 1e5 - & END=5 AC=1 CSQ= 0|1 1/2/3 &missense_variant DB PASS"),
    *("\t", "\\", '"', "\r", "é", "\0", "G" * 60, "12345678901234567890"),
]
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.sampled_from(["insert", "delete", "replace", "double"]),
        st.sampled_from(PIECES),
    ),
    max_size=5,
)


def edited(text: str, edits: list[tuple[int, str, str]]) -> str:
    for place, edit, piece in edits:
        at = place % (len(text) + 1)
        if edit == "insert":
            text = text[:at] + piece + text[at:]
        elif edit == "delete":
            text = text[:at] + text[at + 1 + place % 7 :]
        elif edit == "replace":
            text = text[:at] + piece + text[at + len(piece) :]
        else:
            columns = text.split("\t")
            which = place % len(columns)
            columns[which] += f",{columns[which]}"
            text = "\t".join(columns)
    return text


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(source=st.sampled_from(ORDINARY), which=st.integers(0, 30), edits=EDITS)
def test_edited_records_are_read_alike(
    source: Path, which: int, edits: list[tuple[int, str, str]], tmp_path: Path
) -> None:
    lines = source.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    records = lines[len(header) :]
    path = tmp_path / "edited.vcf"
    path.write_text("\n".join([*header, edited(records[which % len(records)], edits)]) + "\n", newline="")
    assert_twins(path)


def test_public_files_are_read_alike(shared_data: Path) -> None:
    paths = sorted(
        path for path in (shared_data / "variants").iterdir() if {".vcf", ".bcf"} & {*path.suffixes}
    )
    assert paths
    for path in paths:
        assert_twins(path)
