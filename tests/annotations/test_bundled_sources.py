"""The bundled ClinVar-like source and its next version: the change report, row by row, against the files' own text."""

from __future__ import annotations

from pathlib import Path

from annotation_harness import AnnotatedWarehouse

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FIRST = EXAMPLES / "inbox" / "annotations" / "clinvar" / "clinvar_20260104.vcf"
NEXT = EXAMPLES / "later" / "annotations" / "clinvar" / "clinvar_20260201.vcf"
INFO = {
    "clinvar_sig": "CLNSIG", "clinvar_review": "CLNREVSTAT", "allele_id": "ALLELEID", "disease": "CLNDN",
    "conflicting_sig": "CLNSIGCONF", "oncogenicity": "ONC", "variant_class": "CLNVC", "gene_info": "GENEINFO",
    "origin": "ORIGIN",
}  # fmt: skip

Key = tuple[str, int, str, str]


def values_in(path: Path) -> dict[Key, dict[str, str | None]]:
    """The columns of each allele, read from the text."""
    found: dict[Key, dict[str, str | None]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        chrom, pos, variation, ref, alt, _, _, info = line.split("\t")
        told = dict(entry.split("=", 1) for entry in info.split(";"))
        values = {alias: told.get(key) for alias, key in INFO.items()}
        found[(f"chr{chrom}", int(pos), ref, alt)] = values | {"variation_id": variation}
    return found


def test_the_change_report_of_the_bundled_versions_is_right_to_the_row(warehouse: AnnotatedWarehouse) -> None:
    for name in ("panel.vcf", "trio.vcf"):
        assert warehouse.load_file(name, (EXAMPLES / "inbox" / "vcf" / name).read_text()).success
    held = set(warehouse.query("SELECT DISTINCT chrom, pos, ref, alt FROM genomics.variants"))

    def significance() -> dict[Key, str | None]:
        rows = warehouse.query(
            "SELECT DISTINCT chrom, pos, ref, alt, v.clinvar_sig FROM genomics.variants AS v "
            "JOIN genomics.anno_clinvar AS a USING (chrom, pos, ref, alt)"
        )
        return {(chrom, pos, ref, alt): told for chrom, pos, ref, alt, told in rows}

    before, after = values_in(FIRST), values_in(NEXT)
    warehouse.take("clinvar", FIRST.read_bytes(), FIRST.name)
    warehouse.annotate()
    assert significance() == {key: before[key]["clinvar_sig"] for key in before.keys() & held}

    done = warehouse.take("clinvar", NEXT.read_bytes(), NEXT.name)
    report = warehouse.annotate()

    nothing: dict[str, str | None] = dict.fromkeys([*INFO, "variation_id"])
    expected = {
        (*key, column, old.get(column), new.get(column))
        for key in (before.keys() | after.keys()) & held
        for old, new in [(before.get(key, nothing), after.get(key, nothing))]
        for column in nothing
        if old.get(column) != new.get(column)
    }
    told = warehouse.query(
        "SELECT chrom, pos, ref, alt, column_name, old_value, new_value FROM genomics.annotation_changes "
        "WHERE source = 'clinvar'"
    )
    assert len(told) == len(set(told))
    assert set(told) == expected
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert (done["rows added"], done["rows changed"], done["rows removed"]) == (
        len(after.keys() - before.keys()),
        len(changed),
        len(before.keys() - after.keys()),
    )
    reclassified = sum(column == "clinvar_sig" for *_, column, _, _ in expected)
    assert reclassified > 5, "the examples are meant to show some"
    assert f"changed `clinvar_sig` of {reclassified} variants that you hold" in report["what changed"]
    assert significance() == {key: after[key]["clinvar_sig"] for key in after.keys() & held}
