"""Variants carry what sources say, stay current, and keep what their own file said."""

from __future__ import annotations

from annotation_harness import AF, SIG, AnnotatedWarehouse, vcf

from genomics_assets.annotations.pictures import Origin, lineage_picture
from resources.annotation_warehouse import origins
from resources.preview import picture

GNOMAD = {"field": "AF", "alias": "gnomad_af", "fills": "af_gnomad"}
CLINVAR = {"field": "CLNSIG", "alias": "clinvar_sig"}
OWN = '##INFO=<ID=gnomAD_AF,Number=A,Type=Float,Description="d">'


def annotated(warehouse: AnnotatedWarehouse, name: str) -> list[tuple[object, ...]]:
    return warehouse.rows("pos, af_gnomad, clinvar_sig", name)


def test_sources_fill_columns_incrementally(warehouse: AnnotatedWarehouse, name: str, source: str) -> None:
    warehouse.load_file(
        f"{name}.vcf", vcf("1 100 A C .", "1 200 CACA CA gnomAD_AF=0.75", "1 300 A C .", info=(OWN,))
    )
    warehouse.put_fields(source, GNOMAD, CLINVAR)
    warehouse.take(
        source,
        vcf("1 100 A C AF=0.25;CLNSIG=Benign", "chr1 200 CAC C AF=0.5", "1 900 A C AF=1", info=(AF, SIG)),
    )

    first = warehouse.annotate()

    assert annotated(warehouse, name) == [(100, 0.25, "Benign"), (200, 0.5, None), (300, None, None)]
    assert (first["loads annotated"], first["variants updated"]) == (1, 2)
    shown = [column.name for column in first["dagster/column_schema"].columns]
    assert set(shown) == set(first["dagster/column_lineage"].deps_by_column), (
        "the UI shows lineage of columns it knows"
    )
    lineage = origins(warehouse.resources["annotation_warehouse"].sources())
    assert Origin(source, "", "gnomad_af") in lineage["af_gnomad"]
    assert Origin(source, "", "clinvar_sig") in lineage["clinvar_sig"]
    drawn = picture(lineage_picture(lineage), "columns of sources and of variants")
    assert first["where columns come from"] == drawn.value
    assert warehouse.rows("file_annotations", name) == [({},), ({"af_gnomad": 0.75},), (None,)]

    idle = warehouse.annotate()
    assert (idle["loads annotated"], idle["variants updated"], idle["versions shown"]) == (0, 0, 0)

    # A second load: its own rows only.
    warehouse.load_file(f"{name}b.vcf", vcf("1 100 A C .", "1 901 A C ."))
    second = warehouse.annotate()
    assert (second["loads annotated"], second["variants looked at"], second["variants updated"]) == (1, 2, 1)

    # A new version: rows whose values changed only; what it no longer says is what the file said.
    warehouse.take(source, vcf("1 100 A C AF=0.25;CLNSIG=Pathogenic", "1 900 A C AF=1", info=(AF, SIG)))
    third = warehouse.annotate()
    assert annotated(warehouse, name) == [(100, 0.25, "Pathogenic"), (200, 0.75, None), (300, None, None)]
    assert annotated(warehouse, f"{name}b") == [(100, 0.25, "Pathogenic"), (901, None, None)]
    assert (third["loads annotated"], third["variants updated"]) == (0, 3)
    assert third["updated by column"] == {"af_gnomad": 1, "clinvar_sig": 2}
    assert "changed `clinvar_sig` of 1 variant that you hold" in third["what changed"]
    changes = warehouse.query(
        "SELECT pos, column_name, old_value, new_value FROM genomics.annotation_changes WHERE source = %s ORDER BY 1, 2",
        source,
    )
    assert changes == [(100, "clinvar_sig", "Benign", "Pathogenic"), (200, "gnomad_af", "0.5", None)]

    # A rollback is a version like any other.
    assert warehouse.load_source(source, rollback=True).success
    warehouse.annotate()
    assert annotated(warehouse, name) == [(100, 0.25, "Benign"), (200, 0.5, None), (300, None, None)]

    # Everything anew finds nothing to write.
    assert warehouse.annotate(everything=True)["variants updated"] == 0

    view = warehouse.query(
        f"SELECT pos, {source}__gnomad_af FROM genomics.annotated_variants "
        "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = %s ORDER BY pos",
        name,
    )
    assert view == [(100, 0.25), (200, 0.5), (300, None)]


def test_a_text_wider_than_its_column_is_cut_as_in_a_load(
    warehouse: AnnotatedWarehouse, name: str, source: str
) -> None:
    review = "criteria_provided,_multiple_submitters,_no_conflicts"
    warehouse.load_file(f"{name}.vcf", vcf("1 5000 A C ."))
    warehouse.put_fields(source, {"field": "CLNSIG", "alias": "clinvar_review"})
    warehouse.take(source, vcf(f"1 5000 A C CLNSIG={review}", info=(SIG,)))
    warehouse.annotate()
    assert warehouse.rows("clinvar_review", name) == [(review[:49] + "…",)]
    assert warehouse.anno(source, "clinvar_review") == [(review,)]


def test_only_the_rows_of_current_loads_are_annotated(
    warehouse: AnnotatedWarehouse, name: str, source: str
) -> None:
    warehouse.put_fields(source, GNOMAD)
    warehouse.take(source, vcf("1 7000 A C AF=0.25"))
    warehouse.load_file(f"{name}.vcf", vcf("1 7000 A C .", "1 7001 A C ."))
    warehouse.load_file(f"{name}.vcf", vcf("1 7000 A C .", "1 7002 A C ."))
    done = warehouse.annotate()
    assert (done["loads annotated"], done["variants updated"]) == (1, 1)
    assert annotated(warehouse, name) == [(7000, 0.25, None), (7002, None, None)]


def test_the_source_that_was_registered_first_goes_first(
    warehouse: AnnotatedWarehouse, name: str, source: str
) -> None:
    for number, frequency in (("a", "0.25"), ("b", "0.5")):
        warehouse.put_fields(source + number, GNOMAD)
        warehouse.take(source + number, vcf(f"1 8000 A C AF={frequency}", f"1 80{number == 'b':02} A C AF=1"))
    warehouse.load_file(f"{name}.vcf", vcf("1 8000 A C .", "1 8001 A C ."))
    warehouse.annotate()
    assert annotated(warehouse, name)[0] == (8000, 0.25, None)
