"""How much memory a run should keep to, and how many items of a kind are then held at a time."""

from __future__ import annotations

import os
import re

from blocking.errors import BlockingError

#: Environment variable with the limit, such as `4GB`; the command's `--memory-limit` sets it.
VARIABLE = "AFFIL_MEMORY_LIMIT"
#: Least that can be asked for: what the program and its libraries take before the first string.
LEAST = 500_000_000
#: What one stage's working chunk may take of the limit; most of the rest are the strings, pairs and vectors.
_SHARE = 8
_FACTORS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def memory_limit() -> int | None:
    """Bytes that `AFFIL_MEMORY_LIMIT` names, None where it names none.

    Raises:
        BlockingError: the variable holds no size, or one that is too small.
    """
    said = os.environ.get(VARIABLE)
    return parse_size(said) if said else None


def parse_size(text: str) -> int:
    """A size such as `4GB`, `800 MB` or `2GiB` in, bytes out.

    Raises:
        BlockingError: it is no size, or less than 500 MB.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", text, re.IGNORECASE)
    factor = _FACTORS.get(found[2].upper()) if found else None
    if not found or not factor:
        raise BlockingError(f"a memory limit is a number with its unit, such as 4GB or 800MB, got {text!r}")
    n_bytes = int(float(found[1]) * factor)
    if n_bytes < LEAST:
        raise BlockingError(f"a memory limit must be 500MB or more, got {text!r}")
    return n_bytes


def at_once(most: int, bytes_each: int) -> int:
    """Items to hold at a time: `most`, or fewer where the limit asks for it, but at least one.

    Args:
        most: items where nothing is limited.
        bytes_each: what one takes while it is worked on.
    """
    limit = memory_limit()
    return most if limit is None else max(1, min(most, limit // _SHARE // bytes_each))


def database_limit(most: int) -> str:
    """Bytes that a database may take where nothing is limited, to what it may take, as DuckDB reads it."""
    limit = memory_limit()
    return f"{(most if limit is None else min(most, limit // 4)) // 10**6}MB"
