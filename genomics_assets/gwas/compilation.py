"""Compiling the loops that numpy has no words for, with numba, once a machine.

Compiled code is kept under `NUMBA_CACHE_DIR`, else in the user's cache, else under `GENOMICS_HOME`, so that an
installation which may not be written to serves as well. Import this module, and those that use it, inside functions:
numba takes half a second to load.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, reorder: bool = False) -> Callable[[Function], Function]:
    """Compile a function on its first call; it gives up the interpreter's lock while it runs.

    Args:
        reorder: whether sums may be reordered, which lets them be vectorised and changes their last bits. Not for
            code that tests for NaN or infinity.
    """
    decorator: Any = numba.njit(cache=True, nogil=True, fastmath=reorder)
    return cast(Callable[[Function], Function], decorator)


def _cache_folder() -> str:
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        return folder
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        / "genomics_assets"
        / "compiled"
    )
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return str(Path(os.environ.get("GENOMICS_HOME") or ".genomics").absolute() / "compiled")
    return str(cache)


_settings: Any = numba.config
_settings.CACHE_DIR = _cache_folder()
