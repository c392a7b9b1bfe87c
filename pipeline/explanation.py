"""Explain: why two strings are one institution or are not, by the chain of pairs between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rapidfuzz import process

from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.text import compare

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Link:
    """One scored pair of a chain, with the words that both share and those that only one has."""

    left: str
    right: str
    rule: str
    similarity: float
    logit: float
    rescored_logit: float | None
    probability: float
    shared: tuple[str, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Explanation:
    """The answer to "why are these two one institution (or not)?".

    `direct` is the pair itself where it was scored; `chain` are the links that join the two inside their
    institution by the widest path: the path whose weakest link is as probable as possible.
    """

    left: str
    right: str
    left_entity_id: str
    right_entity_id: str
    is_same: bool
    direct: Link | None
    chain: tuple[Link, ...]

    @property
    def weakest(self) -> Link | None:
        """The least probable link of the chain."""
        return min(self.chain, key=lambda link: link.probability, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"weakest": asdict(self.weakest) if self.weakest else None}


def explain(mentions: pd.DataFrame, pairs: pd.DataFrame, left: str, right: str) -> Explanation:
    """Two strings, ids or organisation names of a run become the evidence for their merge or separation.

    Raises:
        UsageError: one of them is not in the run; the message names the nearest string that is.
    """
    a, b = _row(mentions, left), _row(mentions, right)
    entity_a, entity_b = (str(mentions["entity_id"].iloc[i]) for i in (a, b))
    number = {m: i for i, m in enumerate(mentions["mention_id"])}
    same = entity_a == entity_b
    members = np.flatnonzero(mentions["entity_id"].isin([entity_a, entity_b]).to_numpy())
    ids = mentions["mention_id"].to_numpy()[members]
    near = pairs[pairs["left_mention_id"].isin(ids) & pairs["right_mention_id"].isin(ids)]
    ends = np.stack(
        [near["left_mention_id"].map(number).to_numpy(), near["right_mention_id"].map(number).to_numpy()],
        axis=1,
    ).astype(np.int64)
    is_direct = np.flatnonzero((ends == sorted((a, b))).all(axis=1))
    direct = _link(mentions, near.iloc[int(is_direct[0])], number) if len(is_direct) else None
    steps = _widest_path(ends, near["probability"].to_numpy(), a, b) if same else []
    chain = tuple(_link(mentions, near.iloc[i], number) for i in steps)
    return Explanation(_raw(mentions, a), _raw(mentions, b), entity_a, entity_b, same, direct, chain)


def weakest_links(mentions: pd.DataFrame, pairs: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` least probable links of the trees that hold institutions together, weakest first.

    A tree of the most probable pairs (maximum spanning tree) spans each institution; a weak link in it
    is one that no better chain replaces.
    """
    entity = dict(zip(mentions["mention_id"], mentions["entity_id"], strict=True))
    number = {m: i for i, m in enumerate(mentions["mention_id"])}
    inside = pairs[pairs["left_mention_id"].map(entity) == pairs["right_mention_id"].map(entity)]
    left = inside["left_mention_id"].map(number).to_numpy(np.int64)
    right = inside["right_mention_id"].map(number).to_numpy(np.int64)
    chosen = spanning_forest(left, right, inside["probability"].to_numpy(), len(mentions))
    found = inside.iloc[chosen].sort_values(["probability", "left_mention_id", "right_mention_id"]).head(n)
    raw = dict(zip(mentions["mention_id"], mentions["affiliation"], strict=True))
    return found.assign(
        entity_id=found["left_mention_id"].map(entity),
        left=found["left_mention_id"].map(raw),
        right=found["right_mention_id"].map(raw),
    ).reset_index(drop=True)


def spanning_forest(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], probability: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int64]:
    """Numbers of the pairs of a maximum spanning forest over `n` items, ascending."""
    from scipy import sparse
    from scipy.sparse.csgraph import minimum_spanning_tree

    if not len(left):
        return np.empty(0, np.int64)
    # 0 means "no edge" to SciPy, so costs begin at 1.
    cost = sparse.csr_array((2.0 - probability, (left, right)), shape=(n, n))
    order = sparse.csr_array((np.arange(1, len(left) + 1, dtype=np.float64), (left, right)), shape=(n, n))
    tree = minimum_spanning_tree(cost).tocoo()
    return np.sort(np.asarray(order[tree.row, tree.col]).ravel().astype(np.int64) - 1)


def _widest_path(
    ends: npt.NDArray[np.int64], probability: npt.NDArray[np.float64], a: int, b: int
) -> list[int]:
    """Numbers of the pairs on the path from a to b in the maximum spanning forest, in order."""
    if a == b or not len(ends):
        return []
    n = int(ends.max()) + 1
    neighbours: dict[int, list[tuple[int, int]]] = {}
    for i in spanning_forest(ends[:, 0], ends[:, 1], probability, n).tolist():
        u, v = ends[i].tolist()
        neighbours.setdefault(u, []).append((v, i))
        neighbours.setdefault(v, []).append((u, i))
    back: dict[int, tuple[int, int]] = {a: (a, -1)}
    queue = [a]
    for at in queue:
        for to, i in neighbours.get(at, []):
            if to not in back:
                back[to] = (at, i)
                queue.append(to)
    path: list[int] = []
    at = b if b in back else a
    while at != a:
        at, i = back[at]
        path.append(i)
    return path[::-1]


def _row(mentions: pd.DataFrame, asked: str) -> int:
    """Row of a mention id, of the main mention of a string, or of the most frequent mention of a name."""
    for column in ("mention_id", "affiliation_id", "affiliation", "organization"):
        found = np.flatnonzero((mentions[column] == asked).to_numpy())
        if len(found):
            is_other = mentions["role"].to_numpy()[found] != "main"
            return int(found[np.lexsort((-mentions["n_occurrences"].to_numpy()[found], is_other))[0]])
    nearest = process.extractOne(asked, mentions["affiliation"].tolist(), score_cutoff=40)
    hint = f"; the nearest is {nearest[0][:200]!r}" if nearest else ""
    raise UsageError(f"no such string, affiliation id or mention id in this run: {asked[:200]!r}{hint}")


def _link(mentions: pd.DataFrame, pair: Any, number: dict[str, int]) -> Link:
    a, b = number[pair["left_mention_id"]], number[pair["right_mention_id"]]
    raw_a, raw_b = _raw(mentions, a), _raw(mentions, b)
    words_a, words_b = _words(raw_a), _words(raw_b)
    rescored = float(pair["rescored_logit"])
    return Link(
        left=raw_a,
        right=raw_b,
        rule=str(pair["rule"]),
        similarity=float(pair["similarity"]),
        logit=float(pair["logit"]),
        rescored_logit=None if np.isnan(rescored) else rescored,
        probability=float(pair["probability"]),
        shared=tuple(w for w in words_a if w in words_b),
        only_left=tuple(w for w in words_a if w not in words_b),
        only_right=tuple(w for w in words_b if w not in words_a),
        place=_place(mentions, a, b),
    )


def _raw(mentions: pd.DataFrame, row: int) -> str:
    return str(mentions["affiliation"].iloc[row])


def _words(raw: str) -> Sequence[str]:
    return list(dict.fromkeys(concept_tokens(compare(raw[:2000]))))


def _place(mentions: pd.DataFrame, a: int, b: int) -> str:
    """The finest level of place that both name: whether they agree there."""
    for level in ("city", "region", "country_code"):
        x, y = mentions[level].iloc[a], mentions[level].iloc[b]
        if isinstance(x, str) and isinstance(y, str):
            return f"same {level}: {x}" if x == y else f"different {level}: {x} / {y}"
    return "unknown"
