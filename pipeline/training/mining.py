"""Triplets and pairs from labelled strings: positives of the same cluster, negatives that lie near.

Every fold is mined by itself, so nothing of one fold is a negative, or a positive, in another.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blocking import BlockingSettings, Encoder
from blocking.encoders import CorpusEncoder
from blocking.neighbours import nearest_neighbours
from pipeline.errors import UsageError
from pipeline.evaluation import read_gold
from pipeline.evaluation.gold import NothingLabelledError
from pipeline.model_list import BUILT_IN_ENCODER, load_named_encoder
from pipeline.reading import read_table
from pipeline.training.examples import Int64s, Pairs, Triplets
from pipeline.training.labels import Columns
from pipeline.training.renderings import labelled_texts

log = logging.getLogger(__name__)

#: Neighbours that are looked through beside the wanted ones: those of the same cluster come first.
_N_MORE = 64


@dataclass(frozen=True)
class MiningSettings:
    """How negatives and positives are chosen.

    Attributes:
        encoder: says what lies near: a name, folder or hub id.
        per_string: positives and negatives of a string, at the most.
        max_similarity: a negative nearer than this is left out: more likely a wrong label.
        is_raw: whether strings stay as they are; else what the run compares of them (clean, parsed, folded).
        device: where the encoder runs.
        seed: of the choice among positives.
    """

    encoder: str = BUILT_IN_ENCODER
    per_string: int = 4
    max_similarity: float = 0.95
    is_raw: bool = False
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_string < 1:
            raise UsageError(f"per_string must be 1 or more, got {self.per_string}")
        if not 0 < self.max_similarity <= 1:
            raise UsageError(f"max_similarity must lie in (0, 1], got {self.max_similarity}")


@dataclass(frozen=True)
class Labelled:
    """Distinct texts, and the number of each one's label."""

    text: list[str]
    label: Int64s

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str]]) -> Labelled:
        """(text, label) rows; a text with two labels is left out."""
        labels: dict[str, set[str]] = {}
        for text, label in rows:
            labels.setdefault(text, set()).add(label)
        texts = sorted(text for text, own in labels.items() if text.strip() and len(own) == 1)
        names = [min(labels[text]) for text in texts]
        number = {name: n for n, name in enumerate(sorted(set(names)))}
        return cls(texts, np.array([number[name] for name in names], np.int64))

    def __len__(self) -> int:
        return len(self.text)


def is_labelled_file(path: Path, columns: Columns) -> bool:
    """Whether a file has the columns of strings and clusters."""
    return {columns.affiliation, columns.cluster} <= set(read_table(path).column_names)


def read_labelled(path: Path, columns: Columns, *, is_raw: bool = False) -> dict[str, Labelled]:
    """A labelled file to its texts by fold: "train" and "tune", or "" where it has no column of folds.

    A string with several labels names several organisations, and is left out.

    Raises:
        UsageError: no such file or column, or no string with a label.
    """
    has_folds = columns.fold in read_table(path).column_names
    found = {}
    for fold in ("train", "tune") if has_folds else (None,):
        try:
            gold = read_gold(
                path, columns.affiliation, columns.cluster, fold, columns.fold, separator=columns.separator
            )
        except NothingLabelledError:
            if fold != "tune":
                raise
            continue
        rows = [(s, own[0]) for s, own in zip(gold.affiliation, gold.labels, strict=True) if len(own) == 1]
        if not is_raw:
            texts = labelled_texts(rows)
            rows = list(zip(texts.context, texts.label, strict=True))
        found[fold or ""] = Labelled.of(rows)
    return found


def mine_triplets(own: Labelled, settings: MiningSettings, encoder: Encoder | None = None) -> Triplets:
    """Labelled texts to triplets, at most `per_string` of a text; texts without a fellow are no anchors."""
    near = hard_negatives(own, encoder or load_miner(settings), settings.per_string, settings.max_similarity)
    rows = []
    for anchor, (positives, negatives) in enumerate(zip(_fellows(own, settings), near, strict=True)):
        if positives and negatives:
            n = min(settings.per_string, len(positives) * len(negatives))
            chosen = ((positives[k % len(positives)], negatives[k % len(negatives)]) for k in range(n))
            rows += [(anchor, *both) for both in dict.fromkeys(chosen)]
    a, b, c = ([own.text[row[side]] for row in rows] for side in range(3))
    return Triplets(a, b, c)


def mine_pairs(own: Labelled, settings: MiningSettings, encoder: Encoder | None = None) -> Pairs:
    """Labelled texts to labelled pairs: of a text at most `per_string` of its cluster and as many others."""
    near = hard_negatives(own, encoder or load_miner(settings), settings.per_string, settings.max_similarity)
    rows = []
    for left, (positives, negatives) in enumerate(zip(_fellows(own, settings), near, strict=True)):
        rows += [(left, right, 1) for right in positives]
        rows += [(left, right, 0) for right in negatives]
    return Pairs(
        [own.text[a] for a, _, _ in rows], [own.text[b] for _, b, _ in rows], [y for _, _, y in rows]
    )


def load_miner(settings: MiningSettings) -> Encoder:
    """The encoder that says what lies near."""
    return load_named_encoder(BlockingSettings(encoder=settings.encoder, device=settings.device))


def hard_negatives(own: Labelled, encoder: Encoder, n: int, max_similarity: float = 1.0) -> list[list[int]]:
    """For each text the numbers of the `n` nearest texts of other labels, the nearest first; may be fewer."""
    if len(own) < 2:
        return [[] for _ in own.text]
    if isinstance(encoder, CorpusEncoder) and not encoder.is_fitted:
        encoder.fit(own.text)
    wanted = min(n + _N_MORE, len(own) - 1)
    ids, cosines = nearest_neighbours(encoder.encode(own.text), wanted)
    is_other = (ids >= 0) & (own.label[ids] != own.label[:, None]) & (cosines <= max_similarity)
    return [row[keep][:n].tolist() for row, keep in zip(ids, is_other, strict=True)]


def _fellows(own: Labelled, settings: MiningSettings) -> list[list[int]]:
    """For each text at most `per_string` others of its label, drawn at random."""
    random = np.random.default_rng(settings.seed)
    order = np.argsort(own.label, kind="stable")
    starts = np.searchsorted(own.label[order], np.arange(own.label.max(initial=-1) + 2))
    found = []
    for number, label in enumerate(own.label.tolist()):
        cluster = order[starts[label] : starts[label + 1]]
        others = random.permutation(cluster[cluster != number])
        found.append(others[: settings.per_string].tolist())
    return found
