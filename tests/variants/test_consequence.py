"""Consequences: severity, picks, and which ALT an entry speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcf_text import CSQ, REAL_FILES, Loaded, load, record

from genomics_assets.variants.consequence import (
    CODING,
    ENSEMBL_ORDER,
    LOSS_OF_FUNCTION,
    SEVERITY,
    AnnotationFormat,
    rank_of,
)

VEP = CSQ.format("Allele|Consequence|IMPACT|SYMBOL|Gene|Feature|HGVSc|HGVSp|CANONICAL|PICK")
ANN = (
    "##INFO=<ID=ANN,Number=.,Type=String,Description=\"Functional annotations: 'Allele | Annotation | "
    "Annotation_Impact | Gene_Name | Gene_ID | Feature_Type | Feature_ID | HGVS.c | HGVS.p' \">"
)
BCSQ = (
    '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Local consequence annotation from BCFtools/csq. '
    'Format: Consequence|gene|transcript|biotype|strand|amino_acid_change|dna_change">'
).replace("Consequence|", "consequence|")


def annotated(
    folder: Path, info: str, ref: str = "A", alt: str = "G", *, header: tuple[str, ...] = (VEP,)
) -> Loaded:
    return load(folder, [record(ref=ref, alt=alt, info=info)], header={"more_header": header})


def entry(
    allele: str, consequence: str, gene: str, *, impact: str = "LOW", canonical: str = "", pick: str = ""
) -> str:
    return f"{allele}|{consequence}|{impact}|{gene}|ENSG|ENST{gene}|c.1|p.1|{canonical}|{pick}"


def test_the_order_is_total_and_covers_both_sets() -> None:
    terms = [term for term, _ in ENSEMBL_ORDER]
    assert len(set(terms)) == len(terms) == 41
    assert terms[0] == "transcript_ablation"
    assert [term for term, impact in ENSEMBL_ORDER if impact == "HIGH"] == terms[:10]
    assert LOSS_OF_FUNCTION < CODING <= set(SEVERITY)
    assert SEVERITY["disruptive_inframe_deletion"] == SEVERITY["inframe_deletion"]


@given(st.lists(st.sampled_from(sorted(SEVERITY)), min_size=1, max_size=5))
def test_an_entry_ranks_as_its_most_severe_term(terms: list[str]) -> None:
    assert rank_of("&".join(terms)).rank == min(SEVERITY[term][0] for term in terms)


def test_the_most_severe_transcript_fills_the_columns(tmp_path: Path) -> None:
    entries = [
        entry("G", "intron_variant", "A"),
        entry("G", "stop_gained&splice_region_variant", "B", impact="HIGH"),
        entry("G", "missense_variant", "C", canonical="YES", pick="1"),
    ]
    row = annotated(tmp_path, "CSQ=" + ",".join(entries)).rows[0]
    assert (row["gene"], row["transcript"], row["hgvs_c"], row["hgvs_p"]) == ("B", "ENSTB", "c.1", "p.1")
    assert (row["consequence"], row["impact"]) == ("stop_gained&splice_region_variant", "HIGH")
    assert (row["is_coding"], row["is_lof"]) == (True, True)


@pytest.mark.parametrize(
    ("entries", "gene"),
    [
        ([entry("G", "missense_variant", "A"), entry("G", "missense_variant", "B")], "A"),
        ([entry("G", "missense_variant", "A"), entry("G", "missense_variant", "B", canonical="YES")], "B"),
        (
            [
                entry("G", "missense_variant", "A", canonical="YES"),
                entry("G", "missense_variant", "B", pick="1"),
            ],
            "B",
        ),
        ([entry("G", "no_such_term", "A"), entry("G", "intergenic_variant", "B")], "B"),
        ([entry("G", "", "A"), entry("G", "no_such_term", "B")], "B"),
    ],
)
def test_ties_go_to_pick_then_canonical_then_the_first(tmp_path: Path, entries: list[str], gene: str) -> None:
    assert annotated(tmp_path, "CSQ=" + ",".join(entries)).column("gene") == [gene]


def test_the_gene_id_stands_in_for_a_missing_symbol(tmp_path: Path) -> None:
    row = annotated(tmp_path, "CSQ=" + entry("G", "intron_variant", "").replace("ENST", "")).rows[0]
    assert (row["gene"], row["transcript"], row["is_coding"], row["is_lof"]) == ("ENSG", None, False, False)


def test_deletions_get_their_annotation_by_veps_rule(tmp_path: Path) -> None:
    # VEP calls the deletion `-` and the shorter one `T`, because all alleles begin with C.
    info = "CSQ=" + ",".join([entry("-", "frameshift_variant", "A"), entry("T", "inframe_deletion", "B")])
    loaded = annotated(tmp_path, info, "CTT", "C,CT")
    assert loaded.column("gene") == ["A", "B"]
    assert [len(found["CSQ"]) for found in loaded.annotations if found] == [1, 1]
    # One ALT alone owns every entry, whatever it is called.
    assert annotated(tmp_path, "CSQ=" + entry("odd", "intron_variant", "A"), "CTT", "C").column("gene") == [
        "A"
    ]


def test_allele_num_decides_where_it_is_given(tmp_path: Path) -> None:
    header = (CSQ.format("Allele|Consequence|SYMBOL|ALLELE_NUM"),)
    info = "CSQ=T|intron_variant|A|2,T|stop_gained|B|1,G|intron_variant|C|,T|intron_variant|D|9"
    loaded = annotated(tmp_path, info, "A", "G,T", header=header)
    assert loaded.column("gene") == ["B", "A"]
    assert loaded.annotations[0] == {"CSQ": ["T|stop_gained|B|1", "G|intron_variant|C|"]}
    assert loaded.tally.noted == {"annotation_without_allele": 1}
    # Without an IMPACT field the published table gives it.
    assert loaded.column("impact") == ["HIGH", "MODIFIER"]


def test_an_entry_of_no_allele_is_counted_and_one_as_written_is_found(tmp_path: Path) -> None:
    info = "CSQ=" + ",".join([entry("CT", "intron_variant", "A"), entry("GGG", "stop_gained", "B")])
    loaded = annotated(tmp_path, info, "CTT", "C,CT")
    assert loaded.column("gene") == [None, "A"]
    assert loaded.column("vep_annotations")[0] is None
    assert loaded.tally.noted == {"annotation_without_allele": 1}


def test_entries_without_an_allele_belong_to_all(tmp_path: Path) -> None:
    loaded = annotated(
        tmp_path, "CSQ=intron_variant|A", alt="G,T", header=(CSQ.format("Consequence|SYMBOL"),)
    )
    assert loaded.column("gene") == ["A", "A"]


def test_a_wrong_field_count_is_kept_counted_and_never_picked(tmp_path: Path) -> None:
    good = entry("G", "intron_variant", "A")
    loaded = annotated(tmp_path, f"CSQ=G|stop_gained|HIGH,{good}|more,{good}")
    assert loaded.column("consequence") == ["intron_variant"]
    assert loaded.tally.noted == {"annotation_wrong_field_count": 2}
    assert loaded.annotations == [{"CSQ": ["G|stop_gained|HIGH", f"{good}|more", good]}]


def test_snpeff_entries_carry_the_alt_as_written(tmp_path: Path) -> None:
    info = (
        "ANN=CT|frameshift_variant|HIGH|A|GA|transcript|TA|c.1|p.1,"
        "C|disruptive_inframe_deletion|MODERATE||GB|transcript|TB|c.2|"
    )
    loaded = annotated(tmp_path, info, "CTT", "C,CT", header=(ANN,))
    assert loaded.column("gene") == ["GB", "A"]
    assert loaded.column("hgvs_p") == [None, "p.1"]
    assert loaded.column("is_coding") == [True, True]
    assert loaded.column("is_lof") == [False, True]


def test_bcftools_terms_back_references_and_stars(tmp_path: Path) -> None:
    info = (
        "BCSQ=@107,*missense|ABC|T0|protein_coding|+|1Y|1A>C,"
        "splice_region&intron|ABC|T1|protein_coding,stop_gained|XYZ|T2|protein_coding|+|10T>10*|145AC>TA,x|y"
    )
    loaded = annotated(tmp_path, info, header=(BCSQ,))
    row = loaded.rows[0]
    assert (row["gene"], row["transcript"], row["consequence"]) == ("XYZ", "T2", "stop_gained")
    assert (row["impact"], row["hgvs_c"], row["hgvs_p"]) == ("HIGH", None, "10T>10*")
    assert loaded.tally.noted == {"annotation_wrong_field_count": 1}
    assert [len(found["BCSQ"]) for found in loaded.annotations if found] == [5]
    only = annotated(tmp_path, "BCSQ=splice_region&intron|ABC|T1|protein_coding", alt="G,T", header=(BCSQ,))
    assert only.column("consequence") == ["splice_region_variant&intron_variant"] * 2
    assert only.column("impact") == ["LOW", "LOW"]


def test_effects_of_old_snpeff_releases(tmp_path: Path) -> None:
    header = (
        '##INFO=<ID=EFF,Number=.,Type=String,Description="Predicted effects for this variant.Format: '
        "'Effect ( Effect_Impact | Functional_Class | Codon_Change | Amino_Acid_Change| Amino_Acid_length | "
        "Gene_Name | Transcript_BioType | Gene_Coding | Transcript_ID | Exon_Rank | Genotype_Number "
        "[ | ERRORS | WARNINGS ] )' \">",
    )
    info = (
        "EFF=INTRON(MODIFIER||||305|A|protein_coding|CODING|TA|1|1),"
        "SPLICE_SITE_REGION+NON_SYNONYMOUS_CODING(MODERATE|MISSENSE|gAt/gTt|D224V|305|B|pc|CODING|TB|1|1|WARNING_X),"
        "STOP_GAINED(HIGH||||305|C|protein_coding|CODING|TC|1|2)"
    )
    loaded = annotated(tmp_path, info, alt="G,T", header=header)
    assert loaded.column("gene") == ["B", "C"]
    assert loaded.column("transcript") == ["TB", "TC"]
    assert loaded.column("consequence") == ["splice_region_variant&missense_variant", "stop_gained"]
    assert loaded.column("hgvs_p") == ["D224V", None]
    assert loaded.annotations[1] == {"EFF": ["STOP_GAINED|HIGH||||305|C|protein_coding|CODING|TC|1|2"]}
    assert not loaded.tally.noted


def test_csq_comes_before_ann_unless_it_says_nothing(tmp_path: Path) -> None:
    ann = "ANN=G|intron_variant|MODIFIER|FROM_ANN|GA|transcript|TA|c.1|p.1"
    both = annotated(tmp_path, f"{ann};CSQ={entry('G', 'synonymous_variant', 'FROM_CSQ')}", header=(VEP, ANN))
    assert both.column("gene") == ["FROM_CSQ"]
    assert [set(found or ()) for found in both.annotations] == [{"CSQ", "ANN"}]
    assert both.info == [{}]
    empty = annotated(tmp_path, f"{ann};CSQ={entry('G', '', 'FROM_CSQ')}", header=(VEP, ANN))
    assert empty.column("gene") == ["FROM_ANN"]


def test_a_key_without_a_declared_format_is_ordinary_info(tmp_path: Path) -> None:
    loaded = annotated(tmp_path, "CSQ=a|b", header=('##INFO=<ID=CSQ,Number=1,Type=String,Description="x">',))
    assert loaded.info == [{"CSQ": "a|b"}]
    assert loaded.annotations == [None]


@given(st.text("GT|,&ab1", max_size=60))
def test_no_text_of_entries_breaks_the_pick(text: str) -> None:
    annotation = AnnotationFormat("CSQ", ["Allele", "Consequence", "PICK", "CANONICAL", "ALLELE_NUM"])
    entries, wrong = annotation.read(text)
    assert [found.text for found in entries] == text.split(",")
    assert wrong == sum(part.count("|") != 4 for part in text.split(","))
    picked = annotation.pick(entries)
    assert (picked is None) == all(found.order is None for found in entries)


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the small real inputs are not here")
def test_genes_of_a_real_cohort_are_filled() -> None:
    loaded = Loaded(REAL_FILES / "cohort_csq_ann.vcf.gz")
    assert len(loaded.rows) == 115
    assert all(loaded.column("gene"))
    assert set(loaded.annotations[0] or ()) == {"CSQ", "ANN"}


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the small real inputs are not here")
def test_genes_of_an_old_snpeff_file_are_filled() -> None:
    loaded = Loaded(REAL_FILES / "snpeff.vcf", engine="auto")
    assert loaded.column("gene")[-5:] == ["OR4F5"] * 5
    assert all(loaded.column("gene"))
