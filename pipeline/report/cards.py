"""Which institutions and pairs the report shows, and what it shows of each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.report.evidence import (
    MIN_NEAR_MISS_PROBABILITY,
    Evidence,
    Int64s,
    floats,
    strongest_first,
    weakest_links,
)
from pipeline.report.registry_entry import RegistryEntry, registry_entry
from pipeline.report.wording import (
    Piece,
    as_number,
    count,
    counted,
    feature_name,
    is_missing,
    mark_differences,
    percent,
    rule_names,
    shorten,
    sureness,
)

# The links that are shown of an institution with many.
_STRONGEST = ("Strongest link", "Second strongest")
_WEAKEST = ("Third weakest", "Second weakest", "Weakest link")


#: Of the features of a pair so many are shown for it, and against it, that change its log-odds by so much.
_N_FEATURES, _MIN_LOG_ODDS = 3, 0.1


@dataclass(frozen=True)
class Limits:
    """How much the report shows; the whole of a run is in its tables, not in its report."""

    n_largest: int = 50
    n_least_certain: int = 30
    n_near_misses: int = 30
    n_members: int = 25
    n_names: int = 10
    n_characters: int = 300

    def halved(self) -> Limits:
        """Half of everything that makes the report long."""
        return replace(
            self,
            n_largest=self.n_largest // 2,
            n_least_certain=self.n_least_certain // 2,
            n_near_misses=self.n_near_misses // 2,
            n_members=max(1, self.n_members // 2),
            n_characters=max(40, self.n_characters // 2),
        )


@dataclass(frozen=True)
class Side:
    """One string of a pair: its pieces, and the part of it that was compared where that is not the whole."""

    pieces: list[Piece]
    part: str


@dataclass(frozen=True)
class Pair:
    """Two strings side by side, and why they were compared; `number` is that of the pair in the evidence."""

    number: int
    label: str
    left: Side
    right: Side
    rules: list[str]
    similarity: str
    probability: str
    sureness: str


@dataclass(frozen=True)
class Member:
    """One string of an institution."""

    string: str
    part: str
    role: str
    n_occurrences: str
    probability: str
    sureness: str


@dataclass(frozen=True)
class Card:
    """One institution as the report shows it; `pairs` run from the strongest link to the weakest."""

    entity_id: str
    name: str
    acronyms: list[str]
    place: list[str]
    country_code: str
    n_mentions: str
    n_occurrences: str
    confidence: str
    sureness: str
    names: list[str]
    n_more_names: int
    members: list[Member]
    n_more_members: int
    pairs: list[Pair]
    n_pairs: int
    registry: RegistryEntry | None = None

    @property
    def weakest(self) -> Pair | None:
        """The weakest link that is shown, None where nothing inside was compared."""
        return self.pairs[-1] if self.pairs else None


@dataclass(frozen=True)
class Features:
    """What speaks for a pair being one institution and what against, in words, the weightiest first."""

    speak_for: list[str]
    speak_against: list[str]


@dataclass(frozen=True)
class NearMiss:
    """A pair of strings whose institutions stayed apart, though they might be one."""

    names: tuple[str, str]
    entity_ids: tuple[str, str]
    pair: Pair


def largest(evidence: Evidence, limits: Limits) -> list[Card]:
    """The institutions with the most strings, largest first."""
    n_mentions = floats(evidence.institutions["n_mentions"])
    n_occurrences = floats(evidence.institutions["n_occurrences"])
    order = np.lexsort((-n_occurrences, -n_mentions))
    return _cards(evidence, order[: limits.n_largest], limits)


def least_certain(evidence: Evidence, limits: Limits) -> tuple[list[Card], int]:
    """The institutions of two or more strings with the lowest confidence, least certain first.

    Returns:
        The cards, and how many institutions of two or more strings there are. Among equals the one with
        the weakest link comes first, then the larger.
    """
    n_mentions = floats(evidence.institutions["n_mentions"])
    confidence = floats(evidence.institutions["confidence"])
    order = np.lexsort((-n_mentions, weakest_links(evidence), confidence))
    order = order[n_mentions[order] > 1]
    return _cards(evidence, order[: limits.n_least_certain], limits), len(order)


def near_misses(evidence: Evidence, limits: Limits) -> tuple[list[NearMiss], int]:
    """The most probable pair of each two institutions that stayed apart, most probable first.

    Returns:
        The near misses that are shown, and how many couples of institutions have one.
    """
    left, right = evidence.entity[evidence.left], evidence.entity[evidence.right]
    is_across = (left != right) & (left >= 0) & (right >= 0)
    across = np.flatnonzero(is_across & (evidence.probability >= MIN_NEAR_MISS_PROBABILITY))
    across = across[strongest_first(evidence, across)]
    low, high = np.minimum(left, right)[across], np.maximum(left, right)[across]
    _, first = np.unique(low * max(len(evidence.institutions), 1) + high, return_index=True)
    shown = across[np.sort(first)[: limits.n_near_misses]]
    rows = Rows.of(evidence, [evidence.left[shown], evidence.right[shown]], [left[shown], right[shown]])
    return [_near_miss(evidence, rows, pair, limits) for pair in shown.tolist()], len(first)


def features(
    reasons: Callable[[Sequence[str], Sequence[str]], list[list[tuple[str, float]]]] | None,
    evidence: Evidence,
    shown: Sequence[Card | NearMiss],
) -> dict[int, Features]:
    """The features of all pairs that some cards show, by their numbers; empty without `reasons`."""
    if reasons is None:
        return {}
    pairs = sorted({pair.number for item in shown for pair in _pairs_of(item)})
    ids = evidence.mentions["mention_id"]
    sides = [ids.iloc[side[pairs]].tolist() for side in (evidence.left, evidence.right)]
    found = {}
    for number, parts in zip(pairs, reasons(*sides), strict=True):
        weighty = [(feature_name(name), value) for name, value in parts if abs(value) >= _MIN_LOG_ODDS]
        found[number] = Features(
            [f"{name} +{value:.1f}" for name, value in weighty if value > 0][:_N_FEATURES],
            [f"{name} −{-value:.1f}" for name, value in weighty if value < 0][:_N_FEATURES],
        )
    return found


def _pairs_of(item: Card | NearMiss) -> list[Pair]:
    return item.pairs if isinstance(item, Card) else [item.pair]


def _cards(evidence: Evidence, shown: npt.NDArray[np.intp], limits: Limits) -> list[Card]:
    members = np.flatnonzero(np.isin(evidence.entity, shown))
    n_occurrences = floats(evidence.mentions["n_occurrences"].iloc[members])
    members = members[np.lexsort((-n_occurrences, evidence.entity[members]))]
    member_entity = evidence.entity[members]

    is_shown = np.isin(evidence.entity[evidence.left], shown)
    pairs = np.flatnonzero(evidence.is_inside & is_shown & ~np.isnan(evidence.probability))
    pairs = pairs[strongest_first(evidence, pairs, evidence.entity[evidence.left[pairs]])]
    pair_entity = evidence.entity[evidence.left[pairs]]

    def of(number: int, groups: Int64s, items: Int64s) -> Int64s:
        return items[np.searchsorted(groups, number) : np.searchsorted(groups, number, side="right")]

    numbers = shown.tolist()
    own = [(of(n, member_entity, members), of(n, pair_entity, pairs)) for n in numbers]
    linked = np.array([pair for _, some in own for pair, _ in _links(some)], np.int64)
    seen = [*(some[: limits.n_members] for some, _ in own), evidence.left[linked], evidence.right[linked]]
    rows = Rows.of(evidence, seen, [shown])
    return [_card(evidence, rows, number, *own[i], limits) for i, number in enumerate(numbers)]


@dataclass(frozen=True)
class Rows:
    """Rows of mentions and of institutions by their numbers, all that are shown taken at once."""

    mentions: dict[int, dict[Hashable, Any]]
    institutions: dict[int, dict[Hashable, Any]]

    @classmethod
    def of(cls, evidence: Evidence, mentions: Sequence[Int64s], institutions: Sequence[Int64s]) -> Rows:
        """Numbers of rows of both tables, any of them several times, to the rows."""
        found = []
        for table, numbers in ((evidence.mentions, mentions), (evidence.institutions, institutions)):
            distinct = np.unique(np.concatenate([np.empty(0, np.int64), *numbers]))
            found.append(dict(zip(distinct.tolist(), table.iloc[distinct].to_dict("records"), strict=True)))
        return cls(*found)


def _card(
    evidence: Evidence, rows: Rows, number: int, members: Int64s, pairs: Int64s, limits: Limits
) -> Card:
    row = rows.institutions[number]
    confidence = as_number(row["confidence"])
    names = texts(row["variant_names"], 120)
    places = [shorten(row[column], 80) for column in ("city", "region")]
    has_registry = "registry_id" in row
    return Card(
        entity_id=shorten(row["entity_id"], 80),
        name=shorten(row["preferred_name"], 200) or "No name found",
        acronyms=texts(row["acronyms"], 30)[: limits.n_names],
        place=[place for place in places if place],
        country_code=shorten(row["country_code"], 8),
        n_mentions=counted(row["n_mentions"], "string"),
        n_occurrences=counted(row["n_occurrences"], "time"),
        confidence=percent(confidence),
        sureness=sureness(confidence),
        names=names[: limits.n_names],
        n_more_names=max(0, len(names) - limits.n_names),
        members=[_member(rows.mentions[i], limits) for i in members[: limits.n_members].tolist()],
        n_more_members=max(0, len(members) - limits.n_members),
        pairs=[_pair(evidence, rows, pair, label, limits) for pair, label in _links(pairs)],
        n_pairs=len(pairs),
        registry=registry_entry(row, evidence.mentions.iloc[members], limits.n_names)
        if has_registry
        else None,
    )


def texts(value: object, n_characters: int) -> list[str]:
    """A list column's value (list, tuple, array or missing) as shortened texts, blank ones left out."""
    items = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    return [text for text in (shorten(item, n_characters) for item in items) if text]


def _member(row: Mapping[Hashable, Any], limits: Limits) -> Member:
    probability = as_number(row["match_probability"])
    return Member(
        string=shorten(row["affiliation"], limits.n_characters),
        part=_part(row),
        role=shorten(row["role"], 30),
        n_occurrences=count(row["n_occurrences"]),
        probability=percent(probability),
        sureness=sureness(probability),
    )


def _part(mention: Mapping[Hashable, Any]) -> str:
    """The organisation that a mention stands for, where its string names others before it; else ""."""
    is_whole = is_missing(mention["role"]) or mention["role"] == "main"
    return "" if is_whole else shorten(mention["organization"], 120)


def _links(pairs: Int64s) -> list[tuple[int, str]]:
    """Of the pairs of an institution, strongest first, those that are shown, with what they are called."""
    if len(pairs) > len(_STRONGEST) + len(_WEAKEST):
        pairs = np.concatenate([pairs[: len(_STRONGEST)], pairs[-len(_WEAKEST) :]])
        labels = [*_STRONGEST, *_WEAKEST]
    elif len(pairs) > 1:
        labels = [_STRONGEST[0], *[""] * (len(pairs) - 2), _WEAKEST[-1]]
    else:
        labels = [""] * len(pairs)
    return list(zip(pairs.tolist(), labels, strict=True))


def _pair(evidence: Evidence, rows: Rows, pair: int, label: str, limits: Limits) -> Pair:
    left, right = (rows.mentions[int(side[pair])] for side in (evidence.left, evidence.right))
    pieces = mark_differences(left["affiliation"], right["affiliation"], limits.n_characters)
    similarity, probability = float(evidence.similarity[pair]), float(evidence.probability[pair])
    return Pair(
        number=pair,
        label=label,
        left=Side(pieces[0], _part(left)),
        right=Side(pieces[1], _part(right)),
        rules=rule_names(evidence.rule.iloc[pair]),
        similarity="–" if np.isnan(similarity) else f"{similarity:.2f}",
        probability=percent(probability),
        sureness=sureness(probability),
    )


def _near_miss(evidence: Evidence, rows: Rows, pair: int, limits: Limits) -> NearMiss:
    ends = [int(evidence.entity[side[pair]]) for side in (evidence.left, evidence.right)]
    left, right = (rows.institutions[end] for end in ends)
    left_name, right_name = (shorten(r["preferred_name"], 120) or "No name found" for r in (left, right))
    left_id, right_id = (shorten(r["entity_id"], 80) for r in (left, right))
    pair_shown = _pair(evidence, rows, pair, "", limits)
    return NearMiss((left_name, right_name), (left_id, right_id), pair_shown)
