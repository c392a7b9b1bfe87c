"""What a recipe learns from and is tested by: a file of examples, or examples mined from labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blocking import Encoder
from pipeline.errors import UsageError
from pipeline.training.examples import Int64s, Pairs, Triplets, linked_groups, read_examples, split
from pipeline.training.labels import Columns
from pipeline.training.mining import (
    Labelled,
    MiningSettings,
    hard_negatives,
    is_labelled_file,
    load_miner,
    mine_pairs,
    mine_triplets,
    read_labelled,
)
from pipeline.training.recipe import Recipe


@dataclass(frozen=True)
class Material:
    """Rows of one side, and which of their texts belong together.

    Attributes:
        rows: triplets for an encoder, pairs for a reranker.
        group_of: a number for each text; those of one thing have the same.
    """

    rows: Triplets | Pairs
    group_of: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def triplets(self) -> Triplets:
        """The rows of an encoder."""
        assert isinstance(self.rows, Triplets)
        return self.rows

    @property
    def pairs(self) -> Pairs:
        """The rows of a reranker."""
        assert isinstance(self.rows, Pairs)
        return self.rows

    def n_groups(self) -> int:
        """How many things the anchors are of."""
        return len({self.group_of[anchor] for anchor in self.triplets.anchor})

    def with_negatives(self, kind: str, encoder: Encoder, recipe: Recipe) -> Material:
        """The same rows with the negatives of a stage: none ("in-batch"), as "given", or "mined" anew."""
        own = self.triplets
        if kind == "in-batch":
            return Material(Triplets(own.anchor, own.positive, None), self.group_of)
        if kind == "given":
            if own.negative is None:
                raise UsageError(
                    "the recipe wants negatives, and the examples have none: give a column negative, or"
                    " negatives = ['mined'] in the recipe"
                )
            return self
        known = Labelled.of([(text, str(group)) for text, group in self.group_of.items()])
        # No bound: cosines of a model in training have a scale of their own.
        near = hard_negatives(known, encoder, recipe.per_string)
        negatives = {text: row for text, row in zip(known.text, near, strict=True) if row}
        dealt: dict[str, int] = {}
        rows = []
        for anchor, positive in zip(own.anchor, own.positive, strict=True):
            found = negatives.get(anchor)
            if found:
                turn = dealt.get(anchor, 0)
                dealt[anchor] = turn + 1
                rows.append((anchor, positive, known.text[found[turn % len(found)]]))
        columns = [[row[side] for row in rows] for side in range(3)]
        return Material(Triplets(*columns), self.group_of)


def read_material(path: Path, recipe: Recipe, columns: Columns) -> tuple[Material, Material]:
    """A file to what is learned from and what is tested by; no thing is on both sides.

    Where the file names folds, `train` is learned from and `tune` tested by; else a share of the things is
    held out. Labelled strings are mined on either side by themselves.

    Raises:
        UsageError: no such file, columns of no form that is known, or too little to learn from.
    """
    sides = _labelled(path, recipe, columns) if is_labelled_file(path, columns) else _examples(path, recipe)
    for side, name in zip(sides, ("learn from", "test by"), strict=True):
        if not len(side):
            what = "triplet" if recipe.kind == "encoder" else "pair"
            raise UsageError(
                f"{path}: no {what} to {name}: it takes clusters of two strings or more, and several of them;"
                " give more, or a larger test_share in the recipe"
            )
    return sides


def _labelled(path: Path, recipe: Recipe, columns: Columns) -> tuple[Material, Material]:
    folds = read_labelled(path, columns)
    if "tune" in folds:
        sides = [folds["train"], folds["tune"]]
    else:
        known = next(iter(folds.values()))
        numbers = split(known.label, recipe.test_share, recipe.seed)
        sides = [Labelled([known.text[i] for i in rows], known.label[rows]) for rows in numbers]
    settings = MiningSettings(per_string=recipe.per_string, seed=recipe.seed)
    encoder = load_miner(settings)
    mine = mine_triplets if recipe.kind == "encoder" else mine_pairs
    return tuple(  # type: ignore[return-value]
        Material(mine(side, settings, encoder), dict(zip(side.text, side.label.tolist(), strict=True)))
        for side in sides
    )


def _examples(path: Path, recipe: Recipe) -> tuple[Material, Material]:
    folds = {name: _of_kind(rows, recipe.kind) for name, rows in read_examples(path).items()}
    if "tune" in folds:
        return _material(folds["train"]), _material(folds["tune"])
    rows = next(iter(folds.values()))
    train, test = split(_splittable(rows), recipe.test_share, recipe.seed)
    return _material(rows.take(train)), _material(rows.take(test))


def _of_kind(rows: Triplets | Pairs, kind: str) -> Triplets | Pairs:
    if kind == "encoder":
        return rows.to_triplets() if isinstance(rows, Pairs) else rows
    return rows.to_pairs() if isinstance(rows, Triplets) else rows


def _splittable(rows: Triplets | Pairs) -> Int64s:
    """Groups to split by: what hangs together; the first texts alone where most of it is one component."""
    group = rows.groups()
    if np.bincount(group).max(initial=0) * 2 <= len(group):
        return group
    first = rows.anchor if isinstance(rows, Triplets) else rows.left
    return linked_groups(first, first)


def _material(rows: Triplets | Pairs) -> Material:
    """Rows of a file; texts that hang together through positives are taken to be of one thing."""
    if isinstance(rows, Pairs):
        return Material(rows, {})
    links = [*zip(rows.anchor, rows.positive, strict=True), *((n, n) for n in rows.negative or [])]
    group = linked_groups([a for a, _ in links], [b for _, b in links]).tolist()
    found = {text: g for (a, b), g in zip(links, group, strict=True) for text in (a, b)}
    return Material(rows, found)
