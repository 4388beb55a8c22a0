"""The bundled catalogue of Mendelian traits, and what crosses of each of them give.

The traits are in `trait_catalogue.json`: diseases, blood groups and visible traits of man with their genes and OMIM
numbers, Mendel's peas, and the classics of other patterns. A trait whose `verification_status` is `simplified` is taught
as if one gene decided alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.zygotrix.models import Trait
from genomics_assets.zygotrix.punnett import Gene, cross, ratio

if TYPE_CHECKING:
    import pyarrow as pa

CATALOGUE = Path(__file__).with_name("trait_catalogue.json")
WRITTEN = datetime(2026, 11, 25, tzinfo=UTC)


def bundled_traits() -> list[Trait]:
    """The catalogue, each trait validated: its phenotypes cover every genotype that its alleles allow.

    Raises:
        pydantic.ValidationError: a trait breaks a rule.
        ValueError: two traits have one key.
    """
    traits = [
        Trait.model_validate({"created_at": WRITTEN, "status": "active", "visibility": "public", **entry})
        for entry in json.loads(CATALOGUE.read_text(encoding="utf-8"))
    ]
    keys = [trait.key for trait in traits]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"the catalogue has two traits with the key {', '.join(repeated)}")
    return traits


def gene_of(trait: Trait) -> Gene:
    """The gene behind a trait.

    Raises:
        InheritanceError: it is polygenic.
    """
    return Gene.of(
        trait.inheritance_pattern,
        [allele.symbol for allele in trait.alleles],
        [(phenotype.name, phenotype.genotypes) for phenotype in trait.phenotypes],
    )


def crosses_table(traits: Iterable[Trait]) -> pa.Table:
    """Every cross of every trait with one gene: one row for each pair of parents.

    Columns: trait_key, trait, inheritance_pattern, mother and father (genotypes; the mother's is empty for a gene on
    the Y chromosome), genotype_ratio and phenotype_ratio among all children that have the gene, daughters and sons
    (phenotype ratios, null where the sexes do not differ).
    """
    import pyarrow as pa

    columns = (
        "trait_key", "trait", "inheritance_pattern", "mother", "father",
        "genotype_ratio", "phenotype_ratio", "daughters", "sons",
    )  # fmt: skip
    schema = pa.schema([pa.field(name, pa.string()) for name in columns])
    rows = [row for trait in traits if trait.inheritance_pattern != "polygenic" for row in _crosses(trait)]
    return pa.Table.from_pylist(rows, schema=schema)


def _crosses(trait: Trait) -> Iterator[dict[str, Any]]:
    gene = gene_of(trait)
    for mother, father in gene.parents():
        children = cross(gene, mother, father)
        differ = children.daughters != children.sons
        yield {
            "trait_key": trait.key,
            "trait": trait.name,
            "inheritance_pattern": trait.inheritance_pattern,
            "mother": mother,
            "father": father,
            "genotype_ratio": ratio(children.genotypes()),
            "phenotype_ratio": ratio(gene.phenotypes(children.genotypes())),
            "daughters": ratio(gene.phenotypes(children.daughters))
            if differ and children.daughters
            else None,
            "sons": ratio(gene.phenotypes(children.sons)) if differ else None,
        }
