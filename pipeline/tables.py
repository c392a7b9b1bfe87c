"""The frames of a result, column by column as docs/data-contract.md describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from blocking.pairs import RULES
from pipeline.consolidation import Consolidated, Institution
from pipeline.folding import RESOLVED_COLUMNS
from pipeline.judgements import JUDGEMENT_COLUMNS, Judgements, hold
from pipeline.linked_tables import RecordsOfYears, link_columns
from pipeline.linking import Linking
from pipeline.records import Affiliations, Forms, Matches, Mentions, SetAside

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TABLES = ("mentions", "institutions", "pairs", "set_aside")


@dataclass(frozen=True)
class RunFrames:
    """The tables of a result as they are written."""

    mentions: pd.DataFrame
    institutions: pd.DataFrame
    pairs: pd.DataFrame
    set_aside: pd.DataFrame
    #: None where the run was given no judgements.
    judgements: pd.DataFrame | None = None
    #: None where the run was given no registry.
    timeline: pd.DataFrame | None = None


def mentions_frame(
    mentions: Mentions, forms: Forms, found: Consolidated, linking: Linking | None = None
) -> pd.DataFrame:
    """Mentions and what became of them, one row each, in the order of their affiliation ids.

    Where a registry was asked there are the columns of `link_columns` more.
    """
    strings, number = mentions.affiliations, mentions.affiliation.tolist()
    items = mentions.mention
    return _frame(
        {
            "affiliation_id": [strings.affiliation_id[i] for i in number],
            "affiliation": [strings.affiliation[i] for i in number],
            "n_occurrences": strings.n_occurrences[mentions.affiliation],
            "mention_id": found.mention_id,
            "organization": [d or None for d in forms.display],
            "has_organization": np.array([bool(d) for d in forms.display], np.bool_),
            "units": ["; ".join(m.units) or None for m in items],
            "city": [m.city for m in items],
            "region": [m.region for m in items],
            "country_code": [m.country_code for m in items],
            "role": [m.role for m in items],
            "entity_id": found.entity_id,
            "match_probability": found.match_probability,
        }
        | (link_columns(linking, len(mentions)) if linking else {})
    )


def institutions_frame(found: Consolidated, *, has_registry: bool = False) -> pd.DataFrame:
    """Institution records, one row each, the most frequent first; more columns where a registry was asked."""
    records = found.institutions
    names = ("entity_id", "preferred_name", "variant_names", "variant_counts", "acronyms")
    texts = (*names, "city", "region", "country_code")
    columns: dict[str, Any] = {name: [getattr(r, name) for r in records] for name in texts}
    for name in ("variant_names", "variant_counts", "acronyms"):
        columns[name] = [list(v) for v in columns[name]]
    for name in ("n_mentions", "n_occurrences"):
        columns[name] = np.array([getattr(r, name) for r in records], np.int64)
    columns["confidence"] = np.array([r.confidence for r in records], np.float64)
    columns["weakest_link"] = np.array(
        [np.nan if r.weakest_link is None else r.weakest_link for r in records], np.float64
    )
    columns["has_organization"] = np.array([r.has_organization for r in records], np.bool_)
    columns["provenance"] = [
        [f"{column}={source}" for column, sources in r.sources.items() for source in sources] for r in records
    ]
    return _frame(columns | _registry_columns(records) if has_registry else columns)


def _registry_columns(records: Sequence[Institution]) -> dict[str, Any]:
    """What the registry says of each institution, null or empty where it is none of its records."""
    import pandas as pd

    own = [r.registry for r in records]
    columns: dict[str, Any] = {"registry_id": [r and r.id for r in own]}
    for name, source in (("registry_probability", "probability"), ("latitude",) * 2, ("longitude",) * 2):
        values = [None if r is None else getattr(r, source) for r in own]
        columns[name] = np.array([np.nan if v is None else v for v in values], np.float64)
    columns["established"] = pd.array([None if r is None else r.established for r in own], "Int64")
    for name in ("types", "domains", "links", "external_ids", "parent_ids", "child_ids"):
        columns[name] = [[] if r is None else list(getattr(r, name)) for r in own]
    for when in ("earlier", "later"):
        related = [() if r is None else getattr(r, when) for r in own]
        for part in ("id", "name", "year"):
            columns[f"{when}_{part}s"] = [[getattr(other, part) for other in some] for some in related]
    columns["variant_languages"] = [list(r.variant_languages) for r in records]
    return columns


def pairs_frame(matches: Matches, found: Consolidated) -> pd.DataFrame:
    """Scored pairs with both mention ids, the rules that proposed them, and every stage's output."""
    import pandas as pd

    pairs = matches.pairs
    # As categories: millions of pairs name each mention many times over. Columns are shared, not copied.
    kind = pd.CategoricalDtype(pd.Index(found.mention_id))
    names = {
        bits: "+".join(r for i, r in enumerate(RULES) if bits >> i & 1)
        for bits in np.flatnonzero(np.bincount(pairs.rule)).tolist()
    }
    rules = sorted(names.values())
    number = np.zeros(256, np.int8)
    for bits, name in names.items():
        number[bits] = rules.index(name)
    return pd.DataFrame(
        {
            "left_mention_id": pd.Categorical.from_codes(pairs.left.astype(np.int32), dtype=kind),
            "right_mention_id": pd.Categorical.from_codes(pairs.right.astype(np.int32), dtype=kind),
            "rule": pd.Categorical.from_codes(number[pairs.rule], categories=pd.Index(rules)),
            "similarity": pairs.similarity,
            "logit": pairs.logit,
            "rescored_logit": pairs.rescored,
            "probability": matches.probability,
        },
        copy=False,
    )


def set_aside_frame(aside: SetAside, strings: Affiliations) -> pd.DataFrame:
    """What was set aside, one row a string or piece of one; `affiliation_id` is None for blank rows."""
    return _frame(
        {
            "string": aside.string,
            "reason": aside.reason,
            "n_occurrences": np.array(aside.n_occurrences, np.int64),
            "is_whole": np.array(aside.is_whole, np.bool_),
            "affiliation_id": [strings.affiliation_id[i] if i >= 0 else None for i in aside.affiliation],
        }
    )


def judgements_frame(judgements: Judgements, found: Consolidated) -> pd.DataFrame:
    """Judgements, one row each, in the order of their file."""
    unknown = {id(j) for j in hold(judgements, found.mention_id).unknown}
    items = judgements.items
    columns: dict[str, Any] = {name: [getattr(j, name) for j in items] for name in JUDGEMENT_COLUMNS}
    return _frame(columns | {"is_known": np.array([id(j) not in unknown for j in items], np.bool_)})


def _frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Columns to a frame; a list without a value is text, which pandas cannot know."""
    import pandas as pd

    is_unknown = {n: isinstance(c, list) and not any(v is not None for v in c) for n, c in columns.items()}
    return pd.DataFrame({n: pd.Series(c, dtype=object) if is_unknown[n] else c for n, c in columns.items()})


def schema_of(frame: pd.DataFrame) -> pa.Schema:
    """Types of a frame's columns by their names: an empty or all-null column has the type of a full one."""
    import pyarrow as pa

    kinds = {
        pa.int64(): ("n_occurrences", "n_mentions", "from_year", "to_year", "established"),
        pa.bool_(): ("has_organization", "is_whole", "is_known", "is_dated"),
        pa.float32(): ("similarity",),
        pa.float64(): (
            *("match_probability", "confidence", "weakest_link", "logit", "rescored_logit", "probability"),
            *("registry_probability", "latitude", "longitude", "link_probability"),
        ),
        pa.dictionary(pa.int32(), pa.string()): ("rule",),
        pa.list_(pa.string()): (
            *("variant_names", "acronyms", "types", "domains", "external_ids", "parent_ids", "child_ids"),
            *("links", "earlier_ids", "earlier_names", "later_ids", "later_names", "variant_languages"),
            "provenance",
        ),
        pa.list_(pa.int64()): ("variant_counts", "earlier_years", "later_years"),
    }
    kind_of = {name: kind for kind, names in kinds.items() for name in names}
    return pa.schema([(name, kind_of.get(name, pa.string())) for name in frame.columns])


def resolved_columns(*, has_registry: bool, is_by_year: bool) -> tuple[str, ...]:
    """The columns that the user's own table is given."""
    more = ("registry_id", *(("registry_id_then", "is_dated") if is_by_year else ())) if has_registry else ()
    return (*RESOLVED_COLUMNS, *more)


def entities_of_strings(frames: RunFrames, *, is_by_year: bool = False) -> pa.Table:
    """For each string its main entity: affiliation_id, entity_id, preferred_name, match_probability.

    Where a registry was asked, `registry_id` is one more. By year there is a row for each span of years in
    which the string has one record: that record (`registry_id_then`, `is_dated`), the span (`from_year`,
    `to_year`).
    """
    import pyarrow as pa

    main, institutions = frames.mentions[frames.mentions["role"] == "main"], frames.institutions
    names = dict(zip(institutions["entity_id"], institutions["preferred_name"], strict=True))
    columns = {
        "affiliation_id": pa.array(main["affiliation_id"], pa.string()),
        "entity_id": pa.array(main["entity_id"], pa.string()),
        "preferred_name": pa.array([names[e] for e in main["entity_id"]], pa.string()),
        "match_probability": pa.array(main["match_probability"], pa.float64()),
    }
    if "registry_id" not in institutions:
        return pa.table(columns)
    ids = dict(zip(institutions["entity_id"], institutions["registry_id"], strict=True))
    record = [ids[e] if isinstance(ids[e], str) else None for e in main["entity_id"]]
    columns["registry_id"] = pa.array(record, pa.string())
    table = pa.table(columns)
    return _by_year(table, main["mention_id"].tolist(), record, frames.timeline) if is_by_year else table


def _by_year(
    strings: pa.Table, mention: Sequence[str], record: Sequence[str | None], timeline: pd.DataFrame | None
) -> pa.Table:
    """Rows of strings, repeated for the years in which their main mention was another record."""
    import pyarrow as pa

    years = RecordsOfYears.of(timeline)
    spans = [(i, *span) for i, m in enumerate(mention) for span in years.spans([m])]
    then = [years.at(mention[i], record[i], first) for i, first, _ in spans]
    columns = {
        "registry_id_then": pa.array([t[0] for t in then], pa.string()),
        "is_dated": pa.array([t[1] for t in then], pa.bool_()),
        "from_year": pa.array([s[1] for s in spans], pa.int32()),
        "to_year": pa.array([s[2] for s in spans], pa.int32()),
    }
    found = strings.take(pa.array([s[0] for s in spans], pa.int64()))
    for name, column in columns.items():
        found = found.append_column(name, column)
    return found
