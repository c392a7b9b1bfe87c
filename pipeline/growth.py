"""Growth: a finished run and new strings in, the tables of the run with them out, nothing old scored again.

New mentions are compared with the nearest old ones and with each other. The old pairs keep their
probabilities; with the new ones they are clustered as in a run, so that new strings join institutions, found
some, or bridge two. Records are made again where members changed, and ids are carried over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking import CorpusEncoder, Encoder, block_in_detail
from blocking.pairs import RULES
from pipeline.clustering import Clusters
from pipeline.consolidation import (
    Consolidated,
    mention_ids,
)
from pipeline.folding import Folded
from pipeline.grown_records import Known, Rows, consolidated
from pipeline.index import AffiliationIndex
from pipeline.index.candidates import Breadth
from pipeline.index.columns import forms_of, mentions_table
from pipeline.index.index import with_institutions
from pipeline.index.remembered import Remembered
from pipeline.judgements import Judgements, hold
from pipeline.ledger import Generation, Members
from pipeline.linked_tables import link_columns, timeline_frame
from pipeline.linking import Linking, RegistryFacts, link_run
from pipeline.model_list import load_named_encoder
from pipeline.normalization import normalize, with_keys
from pipeline.preparation import mentions_of
from pipeline.records import (
    Affiliations,
    Forms,
    Int64s,
    Matches,
    Mentions,
    Progress,
    ScoredPairs,
    SetAside,
)
from pipeline.resolution import cluster_matches
from pipeline.rows import list_of
from pipeline.settings import Settings
from pipeline.stage_log import StageLog
from pipeline.tables import (
    RunFrames,
    institutions_frame,
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
#: A new text asks for this part of a run's neighbours. With 20,000 synthetic strings in 10 batches, a half
#: gave .80 of the pairs of one run on the whole and B³ F1 of .997 with it, a quarter .53 and .996; against
#: the gold both were within .001 of that run.
NEIGHBOUR_SHARE = 4
#: Neighbours below this cosine are left out. Of pairs that no key had proposed, 47 of 326,000 below it were
#: matches in 20,000 synthetic strings, 29 of 11,000 nearest contexts on the tune fold (`hashing`).
MIN_SIMILARITY = 0.2
#: Neighbours among the new texts themselves, however few of all they are.
LEAST_NEIGHBOURS = 5


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


@dataclass(frozen=True)
class Prepared:
    """New strings, their mentions and the forms of these."""

    strings: Affiliations
    mentions: Mentions
    forms: Forms


def prepared(strings: Affiliations, settings: Settings, on_progress: Progress | None = None) -> Prepared:
    """Strings that a run has not seen to what is compared of them."""
    mentions = mentions_of(strings, settings, on_progress)
    return Prepared(strings, mentions, normalize(mentions, settings.normalization))


def grow(
    index: AffiliationIndex,
    old: RunFrames,
    before: Generation,
    folded: Folded,
    fresh: Prepared,
    log: StageLog,
    *,
    registry: RegistryFacts | None = None,
) -> Grown:
    """A run and all strings, old and new, with their counts, to the run with the new ones.

    Args:
        index: of the run.
        old: tables of the run.
        before: the run, whose ids go on.
        folded: the strings of all rows, the old ones too.
        fresh: those that the run has not seen.
        log: times each stage.
        registry: that of the run, None where it has none.

    Raises:
        AffilError: a model that cannot be loaded, judgements that contradict each other.
    """
    encoder = Remembered(index.candidates.encoder)
    arrived = arrivals(index, fresh, encoder, log)
    row = Rows.of(index.store.mentions, arrived.table).counted(folded.affiliations)
    judgements = Judgements.from_frame(old.judgements)
    said = hold(judgements, list_of(row.table.column("mention_id")))
    linking = _linking(row, index, registry, log).told(said.registry_key) if registry else None
    with log("cluster") as tick:
        matches = _all_matches(old.pairs, arrived.matches, row, list_of(row.table.column("mention_id")))
        clusters = cluster_matches(matches, row.affiliation, index.settings, said.constraints, linking, tick)
    with log("consolidate"):
        table = row.table
        known = Known.of(row, old) if linking is None else Known.nothing(row, old)
        records = consolidated(row, matches, clusters.label, known, index.settings)
        found = records.changed
        # An institution with the members that it had goes on as itself, whatever became of others.
        found = before.carried(linking.identified(found, clusters.label) if linking else found)
        frames = RunFrames(
            mentions=_mentions(old, arrived, found, row, linking),
            institutions=records.frame(institutions_frame(found, has_registry=linking is not None)),
            pairs=pairs_frame(matches, found),
            set_aside=_set_aside(old, arrived, folded),
            judgements=judgements_frame(judgements, found) if judgements else None,
            timeline=_timeline(row, linking, clusters.label, index.settings) if linking else None,
        )
    tables = with_institutions(table, frames.mentions, frames.institutions)
    return Grown(
        frames,
        _members(frames),
        tables,
        _encoder(index, encoder, len(table)),
        _counts(frames, matches, clusters, folded),
        len(fresh.strings),
    )


def _members(frames: RunFrames) -> Members:
    """The partition of a run's mentions and the names of its institutions."""
    names = dict(zip(frames.institutions["entity_id"], frames.institutions["preferred_name"], strict=True))
    return Members(frames.mentions["mention_id"].tolist(), frames.mentions["entity_id"].tolist(), names)


def arrivals(index: AffiliationIndex, fresh: Prepared, encoder: Encoder, log: StageLog) -> Arrivals:
    """Mentions of new strings to the pairs of them with each other and with old ones."""
    settings, mentions, forms = index.settings, fresh.mentions, fresh.forms
    with log("compare") as tick:
        blocking = settings.blocking
        # Of the nearest among all, so many are new ones when they are spread evenly.
        share = len(forms) / max(len(forms) + len(index), 1)
        own = max(LEAST_NEIGHBOURS, math.ceil(blocking.n_neighbours * share))
        least = max(blocking.min_similarity, MIN_SIMILARITY)
        among = replace(blocking, n_neighbours=min(own, blocking.n_neighbours), min_similarity=least)
        within = block_in_detail(forms.views, forms.keys, among, encoder=encoder).pairs
        n = max(1, blocking.n_neighbours // NEIGHBOUR_SHARE)
        each = dict.fromkeys(forms.views, n)
        breadth = Breadth(each, n, blocking.max_block // 2, is_of_all=True, min_similarity=least)
        matches = index.matches(mentions, forms, breadth, within, encoder=encoder, on_progress=tick)
    return Arrivals(
        mentions,
        forms,
        matches,
        mentions.set_aside,
        mentions_table(mentions, forms),
    )


def _joined(one: Matches, other: Matches, n_mentions: int) -> Matches:
    """Matches in one numbering, in order of (left, right)."""
    names = ("left", "right", "similarity", "rule", "logit", "rescored")
    columns = {n: np.concatenate([getattr(m.pairs, n) for m in (one, other)]) for n in names}
    probability = np.concatenate([one.probability, other.probability])
    # The old ones are in order: a stable sort takes such a stretch as it is.
    order = np.argsort(columns["left"] * n_mentions + columns["right"], kind="stable")
    ordered: dict[str, Any] = {name: column[order] for name, column in columns.items()}
    return Matches(ScoredPairs(**ordered), probability[order])


def _all_matches(old: pd.DataFrame, new: Matches, row: Rows, ids: list[str]) -> Matches:
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
    return _joined(Matches(kept, figures["probability"]), Matches(added, new.probability), len(row))


def _linking(row: Rows, index: AffiliationIndex, registry: RegistryFacts, log: StageLog) -> Linking:
    """Links of all mentions as a run makes them; old ones too, for the registry may be a newer one."""
    settings = index.settings
    with log("link") as tick:
        forms = forms_of(row.table, settings.normalization.known_names)
        forms = with_keys(forms, settings.normalization)
        encoder = index.candidates.encoder
        return link_run(forms, registry, settings.linking, encoder, settings.blocking, tick)


def _timeline(row: Rows, linking: Linking, label: Int64s, settings: Settings) -> pd.DataFrame:
    """Which records mentions have been in which years."""
    forms = forms_of(row.table, settings.normalization.known_names)
    ids = list_of(row.table.column("mention_id"))
    return timeline_frame(linking.timeline(forms, label), ids, linking.facts.registry.id)


def _mentions(
    old: RunFrames, arrived: Arrivals, found: Consolidated, row: Rows, linking: Linking | None
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
    counts = row.table.column("n_occurrences").to_numpy()
    figures = {"n_occurrences": counts, "entity_id": entity, "match_probability": probability}
    figures |= link_columns(linking, len(row)) if linking else {}
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


def _encoder(index: AffiliationIndex, encoder: Remembered, n: int) -> Encoder:
    """The encoder for `n` mentions: that of the index, or one that is to learn again."""
    learns = isinstance(encoder.encoder, CorpusEncoder)
    if learns and n >= RELEARN * int(index.store.head["n_fitted"]):
        return load_named_encoder(index.settings.blocking, n)
    return encoder
