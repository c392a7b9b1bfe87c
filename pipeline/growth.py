"""Growth: a finished run and new strings in, the tables of the run with them out, nothing old scored again.

New mentions are compared with the nearest old ones and with each other. The old pairs keep their
probabilities; with the new ones they are clustered as in a run, so that new strings join institutions, found
some, or bridge two. Records are made again where members changed, and ids are carried over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking import CorpusEncoder, Encoder, block_in_detail
from blocking.pairs import RULES
from pipeline.cleaning import clean
from pipeline.clustering import Clusters, cluster, set_siblings_apart
from pipeline.consolidation import (
    Consolidated,
    Institution,
    entity_id,
    institutions_of,
    membership,
    mention_ids,
)
from pipeline.folding import Folded
from pipeline.index import AffiliationIndex
from pipeline.index.candidates import Breadth
from pipeline.index.columns import forms_of, id_number, mentions_of, mentions_table
from pipeline.index.index import with_institutions
from pipeline.judgements import Judgements, hold
from pipeline.ledger import Generation, Members
from pipeline.model_list import load_named_encoder
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Affiliations, Forms, Int64s, Matches, Mentions, ScoredPairs, SetAside
from pipeline.rows import list_of
from pipeline.settings import Settings
from pipeline.stage_log import StageLog
from pipeline.tables import (
    RunFrames,
    institutions_frame,
    institutions_of_frame,
    judgements_frame,
    mentions_frame,
    pairs_frame,
    set_aside_frame,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: An encoder that learns from strings learns again once there are so many times as many.
RELEARN = 2
#: A new text asks for this part of a run's neighbours. With 8,000 synthetic strings in 8 batches, all of them
#: gave twice the pairs of one run on the whole and B³ F1 of .984 with it, half of them 1.4 times and .985.
NEIGHBOUR_SHARE = 2


@dataclass(frozen=True)
class Grown:
    """A run with new strings.

    Attributes:
        frames: its tables.
        members: its institutions, with the ids that they keep.
        tables: for its index.
        encoder: for its index; not fitted where it is to learn again.
        counts: the figures of the summary.
        n_new: distinct strings that are new.
    """

    frames: RunFrames
    members: Members
    tables: dict[str, pa.Table]
    encoder: Encoder
    counts: dict[str, int]
    n_new: int


@dataclass(frozen=True)
class Arrivals:
    """New strings as mentions, and the pairs that they are in.

    Attributes:
        mentions, forms: of the new strings.
        matches: pairs of a new mention (`left`) and another: new ones first, then those of the index.
        set_aside: what was cut from the new strings, and those that were cut whole.
        table: rows for the index.
    """

    mentions: Mentions
    forms: Forms
    matches: Matches
    set_aside: SetAside
    table: pa.Table


def grow(index: AffiliationIndex, old: RunFrames, before: Generation, folded: Folded, log: StageLog) -> Grown:
    """A run and all strings, old and new, with their counts, to the run with the new ones.

    Args:
        index: of the run.
        old: tables of the run.
        before: the run, whose ids go on.
        folded: the strings of all rows, the old ones too.
        log: times each stage.

    Raises:
        AffilError: a model that cannot be loaded, judgements that contradict each other.
    """
    fresh = _fresh(folded.affiliations, old)
    arrived = arrivals(index, fresh, log)
    with log("cluster"):
        row = _Rows.of(index.store.mentions, arrived.table).counted(folded.affiliations)
        matches = _all_matches(old.pairs, arrived.matches, row, list_of(row.table.column("mention_id")))
        judgements = Judgements.from_frame(old.judgements)
        clusters = _clusters(matches, row, index, judgements)
    with log("consolidate"):
        table = row.table
        found = _consolidated(row, matches, clusters.label, _Known.of(row, old), index.settings)
        found = before.carried(found)
        frames = RunFrames(
            mentions=_mentions(old, arrived, found, row, table.column("n_occurrences").to_numpy()),
            institutions=institutions_frame(found),
            pairs=pairs_frame(matches, found),
            set_aside=_set_aside(old, arrived, folded),
            judgements=judgements_frame(judgements, found) if judgements else None,
        )
    tables = with_institutions(table, frames.mentions, frames.institutions)
    return Grown(
        frames,
        Members.of(found),
        tables,
        _encoder(index, len(table)),
        _counts(frames, matches, clusters, folded),
        len(fresh),
    )


def arrivals(index: AffiliationIndex, fresh: Affiliations, log: StageLog) -> Arrivals:
    """New strings to their mentions, and the pairs of these with each other and with old ones."""
    settings = index.settings
    with log("parse") as tick:
        mentions = parse(clean(fresh, settings.cleaning), settings.parsing, tick)
        forms = normalize(mentions, settings.normalization)
    with log("compare"):
        blocking = settings.blocking
        within = block_in_detail(forms.views, forms.keys, blocking, encoder=index.candidates.encoder).pairs
        n = max(1, blocking.n_neighbours // NEIGHBOUR_SHARE)
        breadth = Breadth(dict.fromkeys(forms.views, n), n, blocking.max_block // 2, is_exact=True)
        matches = index.matches(mentions, forms, breadth, within)
    return Arrivals(
        mentions,
        forms,
        matches,
        mentions.set_aside,
        mentions_table(mentions, forms),
    )


def _fresh(strings: Affiliations, old: RunFrames) -> Affiliations:
    """The strings that the run has not seen: neither as mentions nor set aside whole."""
    whole = old.set_aside.loc[old.set_aside["is_whole"], "affiliation_id"]
    seen = {*old.mentions["affiliation_id"], *whole.dropna()}
    kept = [i for i, key in enumerate(strings.affiliation_id) if key not in seen]
    return Affiliations(
        [strings.affiliation_id[i] for i in kept],
        [strings.affiliation[i] for i in kept],
        strings.n_occurrences[np.array(kept, np.int64)],
    )


@dataclass(frozen=True)
class _Rows:
    """Old and new mentions together, in the order of their strings' ids.

    Attributes:
        table: all of them.
        old, new: where each old and each new one stands.
        affiliation: number of the string of each, non-decreasing.
    """

    table: pa.Table
    old: Int64s
    new: Int64s
    affiliation: Int64s

    @classmethod
    def of(cls, old: pa.Table, new: pa.Table) -> _Rows:
        import pyarrow as pa

        both = pa.concat_tables([old.select(new.column_names), new])
        key = np.array([id_number(i) for i in list_of(both.column("affiliation_id"))], np.uint64)
        order = np.argsort(key, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        change = np.diff(key[order]) != 0
        number = np.concatenate([np.zeros(min(len(order), 1), np.int64), np.cumsum(change, dtype=np.int64)])
        return cls(both.take(order), place[: len(old)], place[len(old) :], number)

    def __len__(self) -> int:
        return len(self.affiliation)

    def counted(self, strings: Affiliations) -> _Rows:
        """The same rows with how often their strings occur now."""
        import pyarrow as pa

        n_of = dict(zip(strings.affiliation_id, strings.n_occurrences.tolist(), strict=True))
        counts = pa.array([n_of[i] for i in list_of(self.table.column("affiliation_id"))], pa.int64())
        at = self.table.column_names.index("n_occurrences")
        return replace(self, table=self.table.set_column(at, "n_occurrences", counts))


def _joined(one: Matches, other: Matches) -> Matches:
    """Matches in any numbering and order that they share, in order of (left, right)."""
    names = ("left", "right", "similarity", "rule", "logit", "rescored")
    columns = {n: np.concatenate([getattr(m.pairs, n) for m in (one, other)]) for n in names}
    probability = np.concatenate([one.probability, other.probability])
    order = np.lexsort([columns["right"], columns["left"]])
    ordered: dict[str, Any] = {name: column[order] for name, column in columns.items()}
    return Matches(ScoredPairs(**ordered), probability[order])


def _all_matches(old: pd.DataFrame, new: Matches, row: _Rows, ids: list[str]) -> Matches:
    """Old pairs as a run wrote them and new ones, numbered by the rows of both."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array(ids, pa.string())
    ends = []
    for side in ("left", "right"):
        names = old[f"{side}_mention_id"].astype("category").cat
        at = pc.index_in(pa.array(names.categories, pa.string()), value_set=known).to_numpy()
        ends.append(at[names.codes.to_numpy()] if len(old) else np.empty(0, np.int64))
    rules = old["rule"].astype("category").cat
    bits = np.array([sum(1 << RULES.index(r) for r in str(n).split("+")) for n in rules.categories], np.uint8)
    rule = bits[rules.codes.to_numpy()] if len(old) else np.empty(0, np.uint8)
    figures = {n: old[n].to_numpy(np.float64) for n in ("logit", "rescored_logit", "probability")}
    similarity = old["similarity"].to_numpy(np.float32)
    kept = ScoredPairs(
        ends[0].astype(np.int64),
        ends[1].astype(np.int64),
        similarity,
        rule,
        figures["logit"],
        figures["rescored_logit"],
    )
    place = np.concatenate([row.new, row.old])
    a, b = place[new.pairs.left], place[new.pairs.right]
    added = replace(new.pairs, left=np.minimum(a, b), right=np.maximum(a, b), combination=None)
    return _joined(Matches(kept, figures["probability"]), Matches(added, new.probability))


def _clusters(matches: Matches, row: _Rows, index: AffiliationIndex, judgements: Judgements) -> Clusters:
    """All pairs to the cluster of each mention, as a run makes them."""
    pairs, ids = matches.pairs, list_of(row.table.column("mention_id"))
    evidence = set_siblings_apart(pairs.left, pairs.right, matches.probability, row.affiliation)
    held = hold(judgements, ids).constraints
    return cluster(len(row), *evidence, index.settings.clustering, constraints=held)


@dataclass(frozen=True)
class _Known:
    """What the run knows of its institutions: records, the record of each row (−1: new), their sizes."""

    records: list[Institution]
    of_row: Int64s
    size: Int64s
    counts: Int64s

    @classmethod
    def of(cls, row: _Rows, old: RunFrames) -> _Known:
        records = institutions_of_frame(old.institutions)
        number = {r.entity_id: i for i, r in enumerate(records)}
        of_row, counts = np.full(len(row), -1, np.int64), np.zeros(len(row), np.int64)
        of_row[row.old] = [number[e] for e in old.mentions["entity_id"]]
        counts[row.old] = old.mentions["n_occurrences"]
        return cls(records, of_row, np.bincount(of_row[row.old], minlength=len(records)), counts)

    def unchanged(self, label: Int64s, counts: Int64s) -> Int64s:
        """For each cluster the record that it is still, −1 where a member or a count is another."""
        n = int(label.max(initial=-1)) + 1
        least, most = np.full(n, len(self.records)), np.full(n, -1)
        np.minimum.at(least, label, self.of_row)
        np.maximum.at(most, label, self.of_row)
        is_same = (least == most) & (least >= 0)
        is_same &= np.bincount(label, minlength=n) == np.append(self.size, 0)[np.where(is_same, least, -1)]
        is_same[label[counts != self.counts]] = False
        return np.where(is_same, least, -1)


def _consolidated(
    row: _Rows, matches: Matches, label: Int64s, known: _Known, settings: Settings
) -> Consolidated:
    """Clusters to institutions: the old records, and new ones where members changed."""
    table, string = row.table, row.affiliation
    mean, best = membership(len(table), matches, label)
    same = known.unchanged(label, table.column("n_occurrences").to_numpy())
    confidence = np.bincount(label, mean) / np.bincount(label) if len(label) else np.empty(0)
    record = {}
    for c, i in enumerate(same.tolist()):
        if i >= 0:
            own, sure = known.records[i], float(confidence[c])
            record[c] = own if own.confidence == sure else replace(own, confidence=sure)
    # Mentions are numbered within their strings, so that strings come whole.
    rows = np.flatnonzero(np.isin(string, string[same[label] < 0]))
    part, cluster_of = table.take(rows), label[rows]
    order = np.argsort(cluster_of, kind="stable")
    order = order[same[cluster_of[order]] < 0]
    starts = np.flatnonzero(np.diff(cluster_of[order], prepend=-1))
    groups = [group.tolist() for group in np.split(order, starts[1:])] if len(order) else []
    made = institutions_of(
        groups,
        mentions_of(part),
        forms_of(part, settings.normalization.known_names),
        (mean[rows], best[rows]),
        settings.canonical,
    )
    taken = {r.entity_id for r in record.values()}
    for group, one in zip(groups, made, strict=True):
        record[int(cluster_of[group[0]])] = replace(one, entity_id=_unused(one.entity_id, taken))
    entity = [record[c].entity_id for c in label.tolist()]
    return Consolidated(list(record.values()), list_of(table.column("mention_id")), entity, mean)


def _unused(name: str, taken: set[str]) -> str:
    """An id for a new record that no kept one has: what made it may have made an older one, too."""
    while name in taken:
        name = entity_id(f"{name}/+")
    taken.add(name)
    return name


def _mentions(
    old: RunFrames, arrived: Arrivals, found: Consolidated, row: _Rows, counts: Int64s
) -> pd.DataFrame:
    """The table of mentions, old and new."""
    import pandas as pd

    entity, probability = np.array(found.entity_id, object), found.match_probability
    own = replace(
        found,
        mention_id=mention_ids(arrived.mentions),
        entity_id=entity[row.new].tolist(),
        match_probability=probability[row.new],
    )
    fresh = mentions_frame(arrived.mentions, arrived.forms, own)
    both = pd.concat([f for f in (old.mentions, fresh) if len(f)] or [fresh], ignore_index=True)
    order = np.argsort(np.concatenate([row.old, row.new]))
    figures = {"n_occurrences": counts, "entity_id": entity, "match_probability": probability}
    return both.iloc[order].reset_index(drop=True).assign(**figures)


def _set_aside(old: RunFrames, arrived: Arrivals, folded: Folded) -> pd.DataFrame:
    """What was set aside, old and new, with how often it occurs now."""
    import pandas as pd

    blank = set_aside_frame(folded.set_aside, folded.affiliations)
    strings = folded.affiliations
    n_of = dict(zip(strings.affiliation_id, strings.n_occurrences.tolist(), strict=True))
    kept = old.set_aside[old.set_aside["affiliation_id"].notna()]
    kept = kept.assign(n_occurrences=kept["affiliation_id"].map(n_of).astype(np.int64))
    fresh = set_aside_frame(arrived.set_aside, arrived.mentions.affiliations)
    parts = [f for f in (blank, kept, fresh) if len(f)]
    return pd.concat(parts, ignore_index=True) if parts else blank


def _counts(frames: RunFrames, matches: Matches, clusters: Clusters, folded: Folded) -> dict[str, int]:
    """The figures of the summary, as a run has them."""
    aside, judged = frames.set_aside, frames.judgements
    return {
        "rows": folded.n_rows,
        "distinct": len(folded.affiliations),
        "set_aside": int(aside.loc[aside["is_whole"], "n_occurrences"].sum()),
        "mentions": len(frames.mentions),
        "pairs_proposed": len(matches),
        "pairs_rescored": int(np.count_nonzero(~np.isnan(matches.pairs.rescored))),
        "institutions": len(frames.institutions),
        "largest_cluster": clusters.largest_cluster,
        "largest_component": clusters.largest_component,
        "judgements": 0 if judged is None else len(judged),
        "judgements_unknown": 0 if judged is None else int((~judged["is_known"]).sum()),
    }


def _encoder(index: AffiliationIndex, n: int) -> Encoder:
    """The encoder for `n` mentions: that of the index, or one that is to learn again."""
    encoder = index.candidates.encoder
    if isinstance(encoder, CorpusEncoder) and n >= RELEARN * int(index.store.head["n_fitted"]):
        return load_named_encoder(index.settings.blocking, n)
    return encoder
