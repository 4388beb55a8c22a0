"""Results as the tables that analysts open: one wide row for each probe, and the smaller tables as they are.

The same results give the same bytes, as CSV and as Parquet.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genomics_assets.bmd.stored_results import NewExport

if TYPE_CHECKING:
    import pyarrow as pa

# Of each model, in this order, under `<model>_<column>`.
MODEL_COLUMNS = (
    "bmd", "bmdl", "bmdu", "fit_p_value", "fit_log_likelihood", "aic", "success", "r_squared", "z_score",
    "fold_change_to_top", "curve_parameters",
)  # fmt: skip
BEST_COLUMNS = (
    "bmd", "bmdl", "bmdu", "fit_p_value", "adverse_direction", "r_squared", "z_score", "fold_change_to_top",
    "bmd_low_dose_ratio", "bmd_high_dose_ratio", "is_step_function",
)  # fmt: skip
# What of `bmd.probe_stat_results` the wide table is made of.
STATISTICS_COLUMNS = tuple(dict.fromkeys(("probe_id", "model", "is_best", *MODEL_COLUMNS, *BEST_COLUMNS)))
PREFILTER_COLUMNS = ("p_value", "adjusted_p_value", "best_fold_change", "notel_dose", "lotel_dose")


def wide_table(
    statistics: pa.Table, prefilter: pa.Table, genes_by_probe: Mapping[str, Sequence[str]]
) -> pa.Table:
    """One row for each fitted probe: its genes, prefilter and best model, then every model's numbers.

    Args:
        statistics: one row for each probe and model, as `bmd.probe_stat_results`; models in the same order for
            every probe.
        prefilter: one row for each probe, as `bmd.prefilter_result_details`.
        genes_by_probe: what the platform says.

    >>> import pyarrow as pa
    >>> best = {"is_best": [False, True], "bmd": [1.0, 2.0]}
    >>> statistics = pa.table({"probe_id": ["A", "A"], "model": ["hill", "linear"], **best})
    >>> wide_table(statistics, pa.table({"probe_id": ["A"]}), {"A": ["G1", "G2"]}).to_pydict()
    {'probe_id': ['A'], 'genes': ['G1;G2'], 'best_model': ['linear'], 'best_bmd': [2.0], 'hill_bmd': [1.0], 'linear_bmd': [2.0]}
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    models = pc.unique(statistics["model"].cast(pa.string())).to_pylist()
    by_model = {
        name: statistics.filter(pc.equal(statistics["model"].cast(pa.string()), name)) for name in models
    }
    probes = (
        by_model[models[0]]["probe_id"].combine_chunks().cast(pa.string())
        if models
        else pa.array([], pa.string())
    )
    columns: dict[str, pa.Array] = {
        "probe_id": probes,
        "genes": pa.array(
            [";".join(genes_by_probe.get(probe, ())) for probe in probes.to_pylist()], pa.string()
        ),
    }
    columns |= _looked_up(probes, prefilter, PREFILTER_COLUMNS, "prefilter_")
    best = statistics.filter(pc.fill_null(statistics["is_best"], False))
    columns["best_model"] = _looked_up(probes, best, ("model",), "")["model"].cast(pa.string())
    columns |= _looked_up(probes, best, BEST_COLUMNS, "best_")
    for name in models:
        for column in MODEL_COLUMNS:
            if column in statistics.column_names:
                columns[f"{name}_{column}"] = by_model[name][column].combine_chunks()
    return pa.table(columns)


def all_exports(
    statistics: pa.Table,
    prefilter: Sequence[Mapping[str, Any]],
    genes_by_probe: Mapping[str, Sequence[str]],
    genes: pa.Table,
    categories: Sequence[Mapping[str, Any]],
    points: pa.Table,
) -> list[NewExport]:
    """Probes in wide form, genes, gene sets and points of departure.

    Args:
        statistics: one row for each probe and model.
        prefilter: one row for each probe.
        genes_by_probe: what the platform says.
        genes: one row for each gene.
        categories: one row for each gene set.
        points: one row for each point of departure.
    """
    import pyarrow as pa

    own_key = "bmd_result_id"
    tables = {
        "probes": wide_table(statistics, _table(prefilter), genes_by_probe),
        "genes": genes.drop_columns([own_key]).sort_by([("bmd", "ascending"), ("gene", "ascending")]),
        "categories": _table(categories)
        if categories
        else pa.table({"category_id": pa.array([], pa.string())}),
        "points_of_departure": points.drop_columns([own_key]).sort_by("method"),
    }
    return [export_of(name, table) for name, table in tables.items()]


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows that all have the same keys; a column without any value is one of missing numbers."""
    import pyarrow as pa

    columns = {name: pa.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return pa.table(
        {
            name: column.cast(pa.float64()) if pa.types.is_null(column.type) else column
            for name, column in columns.items()
        }
    )


def export_of(name: str, table: pa.Table) -> NewExport:
    """A table as CSV, lists joined with blanks, and as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    text, parquet = io.BytesIO(), io.BytesIO()
    flat = pa.table({column: _flat(table[column]) for column in table.column_names})
    csv.write_csv(flat, text, csv.WriteOptions(quoting_style="needed"))
    pq.write_table(table, parquet, compression="zstd")
    return NewExport(name, text.getvalue(), parquet.getvalue(), table.num_rows)


def _looked_up(probes: pa.Array, table: pa.Table, columns: Sequence[str], prefix: str) -> dict[str, pa.Array]:
    """Columns of a table whose rows are found by probe id; null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pc.index_in(probes, table["probe_id"].combine_chunks().cast(pa.string()))
    return {
        f"{prefix}{column}": table[column].combine_chunks().take(places)
        for column in columns
        if column in table.column_names
    }


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return column
    return pa.chunked_array(
        [[None if row is None else " ".join(map(_word, row)) for row in column.to_pylist()]], pa.string()
    )


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
