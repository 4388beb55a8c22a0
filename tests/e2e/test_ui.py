"""The Dagster UI as a user opens it: the graph, one materialization, one failed partition.

`GENOMICS_TEST_SCREENSHOTS=folder` keeps the pictures.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import ROOT, Stack, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.timeout(900),
]


BROKEN = b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\tten\t.\tA\tG\t.\t.\t.\n"
ENDED = "SELECT count(*) FROM dagster.runs WHERE pipeline_name = 'load_vcf' AND status = %s"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("ui") / "home")
    stack.up()
    # Sidecars first: a file is taken with those that lie beside it.
    for example in sorted(
        (ROOT / "examples" / "inbox" / "vcf").iterdir(), key=lambda path: path.suffix == ".vcf"
    ):
        stack.drop(example.name, example.read_bytes())
    wait_until("the examples are loaded", lambda: stack.number(ENDED, "SUCCESS") == 3, seconds=600, every=1)
    yield stack
    stack.down()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, headless=True, args=ARGUMENTS,
            viewport={"width": 1600, "height": 1000},
        )  # fmt: skip
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page
        context.close()


def keep(page: Any, name: str) -> None:
    if folder := os.environ.get("GENOMICS_TEST_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1_500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_the_graph_shows_the_warehouse(stack: Stack, page: Any) -> None:
    page.goto(f"http://127.0.0.1:{stack.port}/locations/genomics_assets/asset-groups/variants/lineage")
    for name in ("vcf_files", "variants", "samples", "genotypes", "variant_summary", "variants_lake"):
        page.get_by_text(name, exact=True).first.wait_for()
    keep(page, "graph")


def test_a_materialization_shows_counts_and_pictures(stack: Stack, page: Any) -> None:
    page.goto(f"http://127.0.0.1:{stack.port}/assets/variants/variant_summary?view=partitions&partition=trio")
    page.get_by_text("by chromosome and type").first.wait_for()
    keep(page, "materialization")
    page.get_by_text("Show Markdown").nth(1).click()
    page.locator("img[src^='data:image/png']").first.wait_for()
    keep(page, "picture")


def test_a_failed_partition_says_what_to_do(stack: Stack, page: Any) -> None:
    stack.drop("broken.vcf", BROKEN)
    wait_until(
        "the broken file has failed", lambda: stack.number(ENDED, "FAILURE") == 1, seconds=400, every=1
    )
    [(run_id,)] = stack.query("SELECT run_id FROM dagster.runs WHERE status = 'FAILURE'")
    page.goto(f"http://127.0.0.1:{stack.port}/assets/variants/vcf_files?view=partitions&partition=broken")
    page.get_by_text("broken").first.wait_for()
    keep(page, "partition")
    page.goto(f"http://127.0.0.1:{stack.port}/runs/{run_id}")
    page.get_by_text("line 3").first.wait_for()
    keep(page, "failed_run")
