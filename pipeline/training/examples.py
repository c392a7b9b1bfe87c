"""Files of triplets and pairs: what fine-tuning learns from, read, written and turned into each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.reading import read_table
from pipeline.writing import append_csv, atomic_path, write_header, write_parquet, write_text

Int64s = npt.NDArray[np.int64]

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")
TRIPLET_COLUMNS = ("anchor", "positive", "negative")
PAIR_COLUMNS = ("left", "right", "label")


@dataclass(frozen=True)
class Triplets:
    """A text, one of the same thing and, where there is one, one of another thing; a list a column."""

    anchor: list[str]
    positive: list[str]
    negative: list[str] | None

    def __len__(self) -> int:
        return len(self.anchor)

    def columns(self) -> dict[str, list[str]]:
        """The columns by name."""
        found = {"anchor": self.anchor, "positive": self.positive}
        return found if self.negative is None else found | {"negative": self.negative}

    def take(self, rows: Sequence[int]) -> Triplets:
        """Row numbers to these rows."""
        anchor, positive, *rest = ([column[i] for i in rows] for column in self.columns().values())
        return Triplets(anchor, positive, rest[0] if rest else None)

    def to_pairs(self) -> Pairs:
        """The same as labelled pairs, each once."""
        label = dict.fromkeys(zip(self.anchor, self.positive, strict=True), 1)
        if self.negative is not None:
            label |= dict.fromkeys(zip(self.anchor, self.negative, strict=True), 0)
        return Pairs([a for a, _ in label], [b for _, b in label], list(label.values()))

    def groups(self) -> Int64s:
        """A number a row: rows whose anchors and positives hang together have the same."""
        return linked_groups(self.anchor, self.positive)


@dataclass(frozen=True)
class Pairs:
    """Two texts and whether they are of one thing (1) or not (0); a list a column."""

    left: list[str]
    right: list[str]
    label: list[int]

    def __len__(self) -> int:
        return len(self.left)

    def columns(self) -> dict[str, list[str] | list[int]]:
        """The columns by name."""
        return {"left": self.left, "right": self.right, "label": self.label}

    def take(self, rows: Sequence[int]) -> Pairs:
        """Row numbers to these rows."""
        return Pairs(
            [self.left[i] for i in rows], [self.right[i] for i in rows], [self.label[i] for i in rows]
        )

    def by_left(self) -> dict[str, tuple[list[str], list[str]]]:
        """For each left text its distinct right ones: those of the same thing, those of others."""
        found: dict[str, tuple[dict[str, None], dict[str, None]]] = defaultdict(lambda: ({}, {}))
        for left, right, label in zip(self.left, self.right, self.label, strict=True):
            found[left][0 if label else 1][right] = None
        return {left: (list(same), list(others)) for left, (same, others) in found.items()}

    def to_triplets(self) -> Triplets:
        """Pairs of one thing as anchors and positives; negatives where every anchor has some.

        The negatives of an anchor are dealt out to its positives in turn.
        """
        sides = {left: side for left, side in self.by_left().items() if side[0]}
        has_negatives = all(others for _, others in sides.values())
        rows = [
            (left, same[n % len(same)], others[n % len(others)] if has_negatives else "")
            for left, (same, others) in sides.items()
            for n in range(max(len(same), len(others) if has_negatives else 0))
        ]
        negative = [c for _, _, c in rows] if has_negatives else None
        return Triplets([a for a, _, _ in rows], [b for _, b, _ in rows], negative)

    def groups(self) -> Int64s:
        """A number a row: rows whose left texts hang together through pairs of one thing have the same."""
        same = [n for n, label in enumerate(self.label) if label]
        group = linked_groups(
            self.left + [self.left[n] for n in same], self.left + [self.right[n] for n in same]
        )
        return group[: len(self)]


def linked_groups(left: Sequence[str], right: Sequence[str]) -> Int64s:
    """Links between texts to the number of the connected component that each link lies in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number: dict[str, int] = {}
    a, b = ([number.setdefault(text, len(number)) for text in side] for side in (left, right))
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(number), len(number)))
    component = connected_components(graph, directed=False)[1]
    found: Int64s = component[a].astype(np.int64)
    return found


def split(group: Int64s, test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """The group of each row to the rows to learn from and those to test by; no group is in both.

    Raises:
        UsageError: there are too few groups to have some on either side.
    """
    numbers, n_rows = np.unique(group, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(numbers))
    # Whole groups until the share is reached; one that overshoots it by half or more stays, unless all do.
    chosen, n_chosen, wanted = [], 0, max(1.0, test_share * len(group))
    for number in order.tolist():
        if n_chosen < wanted and n_chosen + n_rows[number] <= 1.5 * wanted:
            chosen.append(number)
            n_chosen += int(n_rows[number])
    chosen = chosen or [int(np.argmin(n_rows))]
    is_test = np.isin(group, numbers[chosen])
    if 2 * int(is_test.sum()) > len(group):
        raise UsageError(
            f"{len(numbers)} groups of texts that belong together cannot be split into training and test;"
            " give more of them, or a column fold with train and tune"
        )
    return np.flatnonzero(~is_test).tolist(), np.flatnonzero(is_test).tolist()


def read_examples(path: Path) -> dict[str, Triplets | Pairs]:
    """A file of triplets or pairs to these by fold ("" where it has no column fold; train and tune only).

    Raises:
        UsageError: no such file, columns of neither form, a cell that is empty, a label that is not 0 or 1.
    """
    table = read_table(path)
    names = table.column_names
    if set(PAIR_COLUMNS) <= set(names):
        wanted: tuple[str, ...] = PAIR_COLUMNS
    elif set(TRIPLET_COLUMNS[:2]) <= set(names):
        wanted = tuple(name for name in TRIPLET_COLUMNS if name in names)
    else:
        raise UsageError(
            f"{path}: fine-tuning needs the columns {', '.join(TRIPLET_COLUMNS)}; or"
            f" {', '.join(PAIR_COLUMNS)}; or affiliation, cluster; there are {', '.join(names)}"
        )
    columns = {name: _cells(table.column(name).to_pylist(), name, path) for name in wanted}
    fold = [str(f) for f in table.column("fold").to_pylist()] if "fold" in names else [""] * len(table)
    found: dict[str, Triplets | Pairs] = {}
    for name in ("", "train", "tune"):
        rows = [n for n, own in enumerate(fold) if own == name]
        if rows:
            found[name] = _of({key: [cells[n] for n in rows] for key, cells in columns.items()}, path)
    if not found:
        raise UsageError(f"{path}: no row of fold train")
    return found


def _cells(values: list[object], name: str, path: Path) -> list[str]:
    blank = next((n for n, value in enumerate(values, 1) if value is None or not str(value).strip()), None)
    if blank is not None:
        raise UsageError(f"{path}, row {blank} (the header not counted): {name} is empty; fill or remove it")
    return [str(value) for value in values]


def _of(columns: dict[str, list[str]], path: Path) -> Triplets | Pairs:
    if "label" not in columns:
        return Triplets(columns["anchor"], columns["positive"], columns.get("negative"))
    meant = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1, "false": 0, "true": 1}
    wrong = next((value for value in columns["label"] if value not in meant), None)
    if wrong is not None:
        raise UsageError(f"{path}: label {wrong!r}; a pair is of one thing (1) or not (0)")
    return Pairs(columns["left"], columns["right"], [meant[value] for value in columns["label"]])


def write_examples(columns: Mapping[str, Sequence[str | int]], path: Path) -> None:
    """Columns to a CSV, TSV, JSONL or Parquet file, whole or not at all; text stays as it is.

    Raises:
        UsageError: the name ends in something else.
    """
    import pyarrow as pa

    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        write_parquet(pa.table(dict(columns)), path)
    elif suffix == ".jsonl":
        rows = zip(*columns.values(), strict=True)
        lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows)
        write_text("".join(f"{line}\n" for line in lines), path)
    else:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
            write_header(handle, list(columns), DELIMITERS[suffix])
            append_csv(handle, list(columns.values()), DELIMITERS[suffix])


def check_suffix(path: Path) -> None:
    """Refuse a name that says no format, before any work is done."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output {path}: name a file that ends in {', '.join(SUFFIXES)}")
