"""One load by vcf-pg-loader, run by the interpreter of its own environment: no import of this project.

    PEER/bin/python peer_load.py init URL
    PEER/bin/python peer_load.py load URL FILE

`load` calls what the command `vcf-pg-loader load` calls, with the command's default options. Imports and the start of
the interpreter are outside of the time.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import asyncpg
from vcf_pg_loader.loader import LoadConfig, VCFLoader
from vcf_pg_loader.schema import SchemaManager


async def init(url: str) -> None:
    """What `vcf-pg-loader init-db` does."""
    connection = await asyncpg.connect(url)
    schema = SchemaManager(human_genome=True)
    await schema.create_schema(connection)
    await schema.create_indexes(connection)
    await connection.close()


def load(url: str, file: str) -> dict[str, float]:
    """Load one file; seconds, CPU seconds of this process, its peak memory in MB, rows."""
    defaults = LoadConfig(
        batch_size=50_000, workers=8, normalize=True, drop_indexes=True, human_genome=True, log_level="INFO"
    )
    cpu, started = os.times(), time.perf_counter()
    result = asyncio.run(VCFLoader(url, defaults).load_vcf(file, force_reload=False))
    wall, spent = time.perf_counter() - started, os.times()
    return {
        "wall": wall,
        "client_cpu": spent.user + spent.system - cpu.user - cpu.system,
        "peak_mb": peak_mb(),
        "rows": result["variants_loaded"],
    }


def peak_mb() -> float:
    """Peak resident memory. Not getrusage's: that one begins with the memory of the process that forked this one."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    if sys.argv[1] == "init":
        asyncio.run(init(sys.argv[2]))
    else:
        print(json.dumps(load(sys.argv[2], sys.argv[3])))
