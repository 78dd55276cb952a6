"""How the functions of this package are compiled."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock

Number = Any  # in compiled functions, mostly float32: numba types them by their values

#: Numba compiles a function anew when its own file changed, but not when a constant or function of another file did
#: that it uses. Hence a folder of compiled functions for each state of the package.
_HERE = Path(__file__).parent
_STATE = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_HERE.glob("*.py")))).hexdigest()[:16]

_COMPILED = _HERE / "__pycache__" / _STATE


def kernel(function: Callable) -> Any:
    """Compile `function` at its first call, or load it from the cache."""
    settings: Any = numba.config
    elsewhere, settings.CACHE_DIR = settings.CACHE_DIR, str(_COMPILED)
    try:
        return numba.njit(cache=True)(function)
    finally:
        settings.CACHE_DIR = elsewhere


@contextlib.contextmanager
def compiled_once(what: str) -> Iterator[None]:
    """Where `what` was not compiled yet, other processes wait until it is, rather than compile the same beside it."""
    done = _COMPILED / f"{what}.compiled"
    if done.exists() or not _COMPILED.is_dir():  # no such folder: this installation cannot be written
        yield
        return
    with FileLock(done.with_suffix(".lock")):
        yield
        done.touch()


#: A function that becomes part of each kernel that calls it, where a call would cost more than its work.
inlined = numba.njit(inline="always")
