"""Explain: why two strings are one institution or are not, by the chain of pairs between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidfuzz import fuzz, process

from pipeline.clustering import ClusteringSettings, Constraints
from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.explanation.contributions import Contribution, agree, contributions
from pipeline.explanation.paths import spanning_forest, widest_path
from pipeline.explanation.separation import Members, Sides, separation
from pipeline.records import Float64s, Int64s
from pipeline.scoring import PairFeatures
from pipeline.scoring.tokens import SPELLING
from pipeline.settings import Settings
from pipeline.text import compare

if TYPE_CHECKING:
    import pandas as pd

#: The rule of a link that no stage proposed: a person did.
JUDGEMENT = "judgement"


@dataclass(frozen=True)
class Background:
    """What an explanation needs beyond the tables: settings, constraints, features (None: not at hand)."""

    settings: Settings = field(default_factory=Settings)
    constraints: Constraints = field(default_factory=Constraints.none)
    features: PairFeatures | None = None


@dataclass(frozen=True)
class Link:
    """One pair of a chain: what both strings share, what only one has, and how the pair was judged.

    Attributes:
        rule: the rules that proposed it; `judgement` where a person did and nothing else.
        judgement: `must-link` or `cannot-link` where a judgement holds between both, directly or by others.
        similarity, logit: NaN → None for a pair that was never scored.
        rescored_probability: the reranker's own, uncalibrated; None where it was not asked.
        probability: calibrated match probability; 1 or 0 where only a person spoke.
        shared, alike, only_left, only_right: words of both; spellings of one word; words of one.
        place: the finest level of place that both name, and whether they agree there.
        contributions: what each feature adds to `logit`, the weightiest first; empty where not at hand.
        registry: the records that both link to by themselves; None where the run had no registry.
    """

    left: str
    right: str
    left_mention_id: str
    right_mention_id: str
    rule: str
    judgement: str | None
    similarity: float | None
    logit: float | None
    rescored_logit: float | None
    rescored_probability: float | None
    probability: float
    shared: tuple[str, ...]
    alike: tuple[tuple[str, str], ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    place: str
    contributions: tuple[Contribution, ...] = ()
    registry: str | None = None


@dataclass(frozen=True)
class Explanation:
    """The answer to "why are these two one institution (or not)?".

    Attributes:
        direct: the pair itself, where it was scored or judged.
        chain: the links that join the two inside their institution by the widest path: the path whose
            weakest link is as probable as possible.
        min_match_probability: the threshold of the run.
        separating: the least threshold at which the two would part; None where they are apart, or where
            none parts them.
        sides: what lies between the two: their institutions where they are apart; else the groups that
            they would be in at the threshold `separating`.
    """

    left: str
    right: str
    left_entity_id: str
    right_entity_id: str
    is_same: bool
    direct: Link | None
    chain: tuple[Link, ...]
    min_match_probability: float
    separating: float | None = None
    sides: Sides | None = None

    @property
    def weakest(self) -> Link | None:
        """The least probable link of the chain."""
        return min(self.chain, key=lambda link: link.probability, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"weakest": asdict(self.weakest) if self.weakest else None}


def explain(
    mentions: pd.DataFrame,
    pairs: pd.DataFrame,
    left: str,
    right: str,
    background: Background | None = None,
) -> Explanation:
    """Two strings, ids or organisation names of a run become the evidence for their merge or separation.

    Raises:
        UsageError: one of them is not in the run; the message names the nearest string that is.
    """
    known = background or Background()
    a, b = _row(mentions, left), _row(mentions, right)
    around = _Around.of(mentions, pairs, (a, b), known.constraints)
    entity = [str(mentions["entity_id"].iloc[i]) for i in (a, b)]
    is_same = entity[0] == entity[1]
    ends = around.ends
    is_direct = np.flatnonzero((ends == sorted((a, b))).all(axis=1))
    steps = widest_path(ends, around.probability, a, b) if is_same else []
    chosen = [*is_direct[:1].tolist(), *steps]
    links = around.links(chosen, known)
    separating, sides = _separation(around, a, b, is_same, known.settings.clustering)
    return Explanation(
        _raw(mentions, a),
        _raw(mentions, b),
        entity[0],
        entity[1],
        is_same,
        links[0] if len(is_direct) else None,
        tuple(links[len(is_direct) :]),
        known.settings.clustering.min_match_probability,
        separating,
        sides,
    )


@dataclass(frozen=True)
class _Around:
    """The pairs among the members of two institutions: those that were scored, and those a person judged.

    `ends` are rows of the mentions, ascending, shape (n, 2); `row` is the row of `pairs`, −1 for a judgement
    on a pair that was never scored; `judgement` 1 must-link, −1 cannot-link, 0 none.
    """

    mentions: pd.DataFrame
    pairs: pd.DataFrame
    members: Int64s
    constraints: Constraints
    ends: Int64s
    row: Int64s
    probability: Float64s
    judgement: Int64s

    @classmethod
    def of(
        cls, mentions: pd.DataFrame, pairs: pd.DataFrame, asked: tuple[int, int], constraints: Constraints
    ) -> _Around:
        """All that lies among the members of the institutions of two mentions."""
        entities = mentions["entity_id"].iloc[list(asked)]
        members = np.flatnonzero(mentions["entity_id"].isin(entities).to_numpy()).astype(np.int64)
        ids = mentions["mention_id"].to_numpy()[members]
        near = np.flatnonzero(pairs["left_mention_id"].isin(ids) & pairs["right_mention_id"].isin(ids))
        number = dict(zip(ids.tolist(), members.tolist(), strict=True))
        columns = [pairs[f"{side}_mention_id"].iloc[near].map(number) for side in ("left", "right")]
        scored = np.sort(np.stack([c.to_numpy(np.int64) for c in columns], axis=1), axis=1)
        held = _inside(constraints, members)
        judged = {
            **dict.fromkeys(zip(held.cannot_left.tolist(), held.cannot_right.tolist(), strict=True), -1),
            **dict.fromkeys(zip(held.must_left.tolist(), held.must_right.tolist(), strict=True), 1),
        }
        if held.are_two(*asked):
            judged[asked] = -1
        judged = {(min(key), max(key)): verdict for key, verdict in judged.items()}
        known = set(map(tuple, scored.tolist()))
        more = [key for key in judged if key not in known]
        ends = np.concatenate([scored, np.array(more, np.int64).reshape(-1, 2)])
        verdict = np.array([judged.get((x, y), 0) for x, y in ends.tolist()], np.int64)
        p = np.concatenate([pairs["probability"].to_numpy(np.float64)[near], np.zeros(len(more))])
        row = np.concatenate([near, np.full(len(more), -1)]).astype(np.int64)
        p = np.where(verdict > 0, 1.0, np.where(verdict < 0, 0.0, p))
        return cls(mentions, pairs, members, held, ends, row, p, verdict)

    def links(self, chosen: Sequence[int], known: Background) -> list[Link]:
        """Some of the pairs in full."""
        found = [self._link(i) for i in chosen]
        scored = [n for n, i in enumerate(chosen) if self.row[i] >= 0]
        if known.features is None or not scored:
            return found
        ends = self.ends[[chosen[n] for n in scored]]
        parts = contributions(known.features, ends[:, 0], ends[:, 1], known.settings.scoring.model)
        for n, part in zip(scored, parts, strict=True):
            logit = found[n].logit
            if logit is not None and agree(part, logit):
                found[n] = Link(**vars(found[n]) | {"contributions": part})
        return found

    def _link(self, i: int) -> Link:
        a, b = self.ends[i].tolist()
        mentions, verdict = self.mentions, int(self.judgement[i])
        pair = self.pairs.iloc[int(self.row[i])] if self.row[i] >= 0 else None
        raw_a, raw_b = _raw(mentions, a), _raw(mentions, b)
        rescored = None if pair is None else _number(pair["rescored_logit"])
        return Link(
            left=raw_a,
            right=raw_b,
            left_mention_id=str(mentions["mention_id"].iloc[a]),
            right_mention_id=str(mentions["mention_id"].iloc[b]),
            rule=JUDGEMENT if pair is None else str(pair["rule"]),
            judgement={1: "must-link", -1: "cannot-link"}.get(verdict),
            similarity=None if pair is None else _number(pair["similarity"]),
            logit=None if pair is None else _number(pair["logit"]),
            rescored_logit=rescored,
            rescored_probability=None if rescored is None else 1 / (1 + float(np.exp(-rescored))),
            probability=float(self.probability[i]),
            **_words(raw_a, raw_b),
            place=_place(mentions, a, b),
            registry=_records(mentions, a, b),
        )


def _inside(constraints: Constraints, members: Int64s) -> Constraints:
    """The constraints between some of the items."""

    def kept(left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
        is_inside = np.isin(left, members) & np.isin(right, members)
        return left[is_inside], right[is_inside]

    is_named = np.isin(constraints.named, members)
    return Constraints(
        *kept(constraints.must_left, constraints.must_right),
        *kept(constraints.cannot_left, constraints.cannot_right),
        constraints.named[is_named],
        constraints.identity[is_named],
    )


def _separation(
    around: _Around, a: int, b: int, is_same: bool, settings: ClusteringSettings
) -> tuple[float | None, Sides | None]:
    """The threshold that parts the two, and the sides that they are on then, or are on as it is."""
    entity = around.mentions["entity_id"].to_numpy()[around.members]
    string = around.mentions["affiliation_id"].iloc[around.members].factorize()[0]

    def numbered(rows: Int64s) -> Int64s:
        return np.searchsorted(around.members, rows).astype(np.int64)

    is_scored = around.row >= 0
    ends = numbered(around.ends[is_scored])
    probability = around.pairs["probability"].to_numpy(np.float64)[around.row[is_scored]]
    held = around.constraints
    held = Constraints(
        *(numbered(held.must_left), numbered(held.must_right)),
        *(numbered(held.cannot_left), numbered(held.cannot_right)),
        *(numbered(held.named), held.identity),
    )
    told = around.mentions.iloc[around.members]
    names = told["mention_id"].tolist(), told["affiliation"].tolist()
    members = Members(ends[:, 0], ends[:, 1], probability, string.astype(np.int64), held, *names)
    at = numbered(np.array([a, b]))
    if is_same:
        return separation(members, int(at[0]), int(at[1]), settings) or (None, None)
    return None, members.sides(entity == entity[at[0]], entity == entity[at[1]], settings)


def weakest_links(mentions: pd.DataFrame, pairs: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` least probable links of the trees that hold institutions together, weakest first.

    A tree of the most probable pairs (maximum spanning tree) spans each institution; a weak link in it
    is one that no better chain replaces.
    """
    import pandas as pd

    ids = pd.Index(mentions["mention_id"])
    left, right = (ids.get_indexer(pd.Index(pairs[f"{side}_mention_id"])) for side in ("left", "right"))
    entity = pd.factorize(mentions["entity_id"])[0]
    inside = np.flatnonzero(entity[left] == entity[right])
    left, right = left[inside].astype(np.int64), right[inside].astype(np.int64)
    probability = pairs["probability"].to_numpy()[inside]
    chosen = spanning_forest(left, right, probability, len(mentions))
    found = pairs.iloc[inside[chosen]].assign(
        left_mention_id=ids[left[chosen]],
        right_mention_id=ids[right[chosen]],
        entity_id=mentions["entity_id"].to_numpy()[left[chosen]],
        left=mentions["affiliation"].to_numpy()[left[chosen]],
        right=mentions["affiliation"].to_numpy()[right[chosen]],
    )
    ordered = found.sort_values(["probability", "left_mention_id", "right_mention_id"])
    return ordered.head(n).reset_index(drop=True)


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


def _raw(mentions: pd.DataFrame, row: int) -> str:
    return str(mentions["affiliation"].iloc[row])


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return None if np.isnan(number) else number


def _words(left: str, right: str) -> dict[str, Any]:
    """Words of two strings aligned: shared ones, spellings of one word, and those that only one has."""
    both = [list(dict.fromkeys(concept_tokens(compare(raw[:2000])))) for raw in (left, right)]
    only = [[w for w in both[side] if w not in both[1 - side]] for side in (0, 1)]
    alike = []
    for word in list(only[0]):
        near = process.extractOne(word, only[1], scorer=fuzz.ratio, score_cutoff=100 * SPELLING)
        if near:
            alike.append((word, near[0]))
            only[0].remove(word)
            only[1].remove(near[0])
    return {
        "shared": tuple(w for w in both[0] if w in both[1]),
        "alike": tuple(alike),
        "only_left": tuple(only[0]),
        "only_right": tuple(only[1]),
    }


def _records(mentions: pd.DataFrame, a: int, b: int) -> str | None:
    """What the registry says of both: the record that each links to by itself, with its probability."""
    if "link_id" not in mentions:
        return None
    said = []
    for row in (a, b):
        name, probability = mentions["link_name"].iloc[row], mentions["link_probability"].iloc[row]
        said.append(f"{name} ({probability:.2f})" if isinstance(name, str) else "no record")
    ids = [mentions["link_id"].iloc[row] for row in (a, b)]
    verdict = "" if not all(isinstance(i, str) for i in ids) else "same" if ids[0] == ids[1] else "different"
    return f"{verdict} record: {' / '.join(said)}" if verdict else " / ".join(said)


def _place(mentions: pd.DataFrame, a: int, b: int) -> str:
    """The finest level of place that both name: whether they agree there."""
    for level in ("city", "region", "country_code"):
        x, y = mentions[level].iloc[a], mentions[level].iloc[b]
        if isinstance(x, str) and isinstance(y, str):
            return f"same {level}: {x}" if x == y else f"different {level}: {x} / {y}"
    return "unknown"
