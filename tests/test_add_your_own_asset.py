"""The worked example of docs/add_your_own_asset.md, with the code that the page shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import psycopg
import pytest

import genomics_assets
from resources import default_resources
from sensors.drain import drain

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "add_your_own_asset.md").read_text()
FILES = re.compile(r"```python\n# (genomics_assets/\S+)\n(.*?)```", re.DOTALL)
TABLE = re.compile(r"```sql\n-- what its upgrade\(\) executes\n(.*?)```", re.DOTALL)


@pytest.fixture
def gene_panels(tmp_path: Path) -> Iterator[ModuleType]:
    """The page's package, importable as if it lay in the project."""
    for name, code in FILES.findall(PAGE):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    genomics_assets.__path__.append(str(tmp_path / "genomics_assets"))
    import genomics_assets.gene_panels as package  # type: ignore[import-not-found]

    yield package
    genomics_assets.__path__.pop()
    for name in [name for name in sys.modules if name.startswith("genomics_assets.gene_panels")]:
        del sys.modules[name]
    del genomics_assets.gene_panels  # type: ignore[attr-defined]


def test_the_worked_example_works(gene_panels: ModuleType, postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url) as connection:
        [table] = TABLE.findall(PAGE)
        connection.execute(table)
    definitions = dg.Definitions.merge(
        gene_panels.definitions(),
        dg.Definitions(
            resources=default_resources(
                postgres_url=postgres_url,
                inbox_url=str(tmp_path / "inbox"),
                object_store_url=f"file://{tmp_path}/objects",
            ),
            executor=dg.in_process_executor,
        ),
    )
    panel = tmp_path / "inbox" / "gene_panels" / "cardio.txt"
    panel.parent.mkdir(parents=True)

    def drained(text: str) -> tuple[int, list[str]]:
        panel.write_text(text)
        lines: list[str] = []
        return drain(definitions, instance, out=lines.append), lines

    def members() -> list[tuple[str, str]]:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute(
                "SELECT panel, gene FROM genomics.gene_panel_members ORDER BY 2"
            ).fetchall()

    with dg.instance_for_test() as instance:
        status, lines = drained("MYH7\nTTN  # the longest\n")
        assert (status, len(lines)) == (0, 1)
        assert lines[0].startswith("ok      gene_panels/cardio.txt: ")
        assert members() == [("cardio", "MYH7"), ("cardio", "TTN")]

        status, [line] = drained("MYH7\nnot a gene\n")
        assert status == 1
        said = re.search(r"`…(/gene_panels/\S+, line 2: .*?)`", PAGE.replace("\n", " "))
        assert said is not None
        assert line.endswith(said[1])
        assert members() == [("cardio", "MYH7"), ("cardio", "TTN")], "the rows before it stay"

        assert drained("MYH7\n")[0] == 0
        assert members() == [("cardio", "MYH7")]
