"""Makes the bundled tree of the file-based system anew, the same bytes each time: `python examples/make_legacy_tree.py`.

All of it is synthetic. One job is cut short, as a full disk leaves it; the others are of each way that a job can end.
"""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

TREE = Path(__file__).parent / "inbox" / "comsa_legacy"
CAUSES = ("ipre", "prematurity", "sepsis_meningitis_inf", "pneumonia", "congenital_malformation", "other")
CUT_AT = 180


def job(number: int, kind: str, status: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """A job as the old system wrote it: what R leaves empty is `{}`, and times have no zone."""
    job_id = str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))  # noqa: S311 - made-up data
    day = f"2025-11-{number + 10:02}"
    return job_id, {
        "id": job_id,
        "type": kind,
        "status": status,
        "algorithm": ["InterVA"],
        "age_group": "neonate",
        "country": "Mozambique",
        "created_at": f"{day} 08:15:00",
        "started_at": f"{day} 08:15:02",
        "completed_at": f"{day} 08:15:40" if status in ("completed", "failed") else {},
        "error": {},
        "result": {},
        "log": [f"[{day} 08:15:02] Starting {kind}", f"[{day} 08:15:03] Data loaded: 40 records"],
        "use_sample_data": False,
        **more,
    }


def causes(seed: int) -> tuple[dict[str, int], str]:
    """Forty deaths with their causes: counts, and the old system's causes.csv."""
    drawn = random.Random(seed).choices(CAUSES, weights=(22, 23, 28, 12, 10, 5), k=40)  # noqa: S311 - made-up data
    lines = [f"d{place},{cause}" for place, cause in enumerate(drawn)]
    return {cause: drawn.count(cause) for cause in CAUSES}, "\n".join(["ID,cause", *lines]) + "\n"


def completed(number: int, kind: str) -> None:
    """A job with its upload and its output."""
    counts, table = causes(number)
    result = {"n_records": 40, "cause_counts": counts, "files": {"causes": "causes.csv"}}
    job_id, record = job(number, kind, "completed", result=result)
    put_job(job_id, record)
    put(f"outputs/{job_id}/causes.csv", table)


def put_job(job_id: str, record: dict[str, Any], *, cut_at: int | None = None) -> None:
    """A job's JSON, whole or cut short, and its upload."""
    put(f"jobs/{job_id}.json", (json.dumps(record, indent=1) + "\n")[:cut_at])
    put(f"uploads/{job_id}/input.csv", "ID,i004a,i004b\n" + "".join(f"d{n},y,n\n" for n in range(40)))


def put(path: str, text: str) -> None:
    """A file of the tree."""
    file = TREE / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def main() -> None:
    """Write the tree."""
    completed(1, "pipeline")
    completed(2, "openva_only")
    failed_id, failed = job(3, "pipeline", "failed", error={"message": ["no record is of a neonate"]})
    put_job(failed_id, failed)
    put_job(*job(4, "vacalibration", "running"))
    broken_id, broken = job(5, "pipeline", "completed")
    put_job(broken_id, broken, cut_at=CUT_AT)


if __name__ == "__main__":
    main()
