"""How `benchmarks/peers.py` talks to a peer: a script each, in an environment of its own.

    PYTHON peers/NAME.py INPUT.jsonl OUTPUT.jsonl '{"option": value}'

A line of the input is `{"id": 0, "string": "Univ Oxford"}`, with `"label"` where the peer learns from
answers; a line of the output `{"id": 0, "cluster": "a label"}`, one for each line of the input. The last line
of standard output is `{"version": "…"}`. This module needs the standard library alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

#: Strings and, where the peer asks for them, labels (else empty) in; a label for each string out.
Clusterer = Callable[..., Iterable[object]]


def write_input(path: Path, strings: Sequence[str], labels: Sequence[str] | None = None) -> None:
    """Strings, and labels for a peer that learns, to a file that `run` reads."""
    with path.open("w", encoding="utf-8") as file:
        for number, string in enumerate(strings):
            row: dict[str, Any] = {"id": number, "string": string}
            if labels is not None:
                row["label"] = labels[number]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_output(path: Path, n: int) -> list[str]:
    """The file that `run` wrote, for `n` strings, to their clusters.

    Raises:
        ValueError: a string without a cluster, or with two, or one that was not asked for.
    """
    found: dict[int, str] = {}
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        found[row["id"]] = str(row["cluster"])
    if len(rows) != n or set(found) != set(range(n)):
        raise ValueError(f"{len(rows)} answers, {len(found)} different ones, for {n} strings")
    return [found[number] for number in range(n)]


def run(cluster: Clusterer, package: str | None = None) -> None:
    """The whole of a peer's script: strings from the first argument, clusters into the second.

    Args:
        cluster: takes strings, labels and the options as keywords.
        package: the distribution whose version is told; None for a method of a few lines.
    """
    source, target, options = sys.argv[1:]
    with Path(source).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels = [row["label"] for row in rows if "label" in row]
    found = list(cluster([row["string"] for row in rows], labels, **json.loads(options)))
    with Path(target).open("w", encoding="utf-8") as file:
        for row, label in zip(rows, found, strict=True):
            file.write(json.dumps({"id": row["id"], "cluster": str(label)}) + "\n")
    print(json.dumps({"version": metadata.version(package) if package else None}))


def components(n: int, left: Iterable[int], right: Iterable[int]) -> list[int]:
    """Pairs of numbers below `n` to a label for each number: those joined by a chain of pairs have one."""
    parent = list(range(n))
    for a, b in zip(left, right, strict=True):
        a, b = _root(parent, int(a)), _root(parent, int(b))
        parent[max(a, b)] = min(a, b)
    return [_root(parent, number) for number in range(n)]


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number
