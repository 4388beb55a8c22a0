"""The peer, vcf-pg-loader, in an environment of its own that is made once and kept beside the inputs."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.inputs import cache_folder

PEER = "vcf-pg-loader"
PEER_VERSION = "0.5.4"


def peer_command(script: str = "peer_load.py") -> list[str]:
    """The command that runs a script of this folder by the peer; makes its environment where it is missing.

    Raises:
        RuntimeError: the package index does not give the peer.
    """
    folder = cache_folder() / f"{PEER}-{PEER_VERSION}-py{sys.version_info[0]}{sys.version_info[1]}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"making {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            f"{PEER}=={PEER_VERSION}",
        ]
        asked = subprocess.run(install, capture_output=True, text=True, check=False)
        if asked.returncode:
            raise RuntimeError(f"{PEER} {PEER_VERSION} cannot be installed: {asked.stderr.strip()[-400:]}")
        done.touch()
    return [str(python), str(Path(__file__).with_name(script))]
