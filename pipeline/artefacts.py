"""Artefacts: what each stage makes as arrays, tables and plain values, and back, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from blocking import BlockingResult, CandidatePairs, Encoder
from blocking.hashing import HashingEncoder
from blocking.neighbours import Search
from pipeline.checkpoints import Artefact
from pipeline.clustering import Clusters
from pipeline.consolidation import Consolidated, Institution, mention_ids
from pipeline.folding import Folded
from pipeline.linking import Linking, LinkingSettings, Links, RegistryFacts
from pipeline.recognition import known_columns, known_records
from pipeline.records import (
    Affiliations,
    Cleaned,
    Combination,
    Forms,
    Mention,
    Mentions,
    ScoredPairs,
    SetAside,
    not_rescored,
)
from pipeline.rows import StagedRows, list_of, tuples_of

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
#: File of the staged rows within its stage.
ROWS = "rows.parquet"


@dataclass(frozen=True)
class Form(Generic[T]):
    """How the result of a stage becomes arrays, Arrow tables and plain values, and how it is made of them.

    Attributes:
        pack, unpack: the one and the other.
        lighten: a result that was just kept to one that leaves on the disk what is large; None leaves it.
    """

    pack: Callable[[T], Mapping[str, Any]]
    unpack: Callable[[Artefact], T]
    lighten: Callable[[T, Artefact], T] | None = None


def _unpack_rows(kept: Artefact) -> StagedRows:
    values = kept.values | {name: tuple(kept.values[name]) for name in ("columns", "warnings")}
    return StagedRows(path=kept.folder / ROWS, **values)


#: Rows; their file is written where the stage is kept.
STAGED_ROWS: Form[StagedRows] = Form(
    lambda rows: {name: value for name, value in asdict(rows).items() if name != "path"}, _unpack_rows
)


def _pack_folded(folded: Folded) -> dict[str, Any]:
    import pyarrow as pa

    strings = folded.affiliations
    table = pa.table({"affiliation_id": strings.affiliation_id, "affiliation": strings.affiliation})
    return {
        "strings": table.cast(pa.schema([(name, pa.string()) for name in table.column_names])),
        "n_occurrences": strings.n_occurrences,
        "set_aside": _aside_table(folded.set_aside),
        "n_rows": folded.n_rows,
    }


def _unpack_folded(kept: Artefact) -> Folded:
    strings = kept.table("strings")
    ids, texts = (list_of(strings.column(name)) for name in ("affiliation_id", "affiliation"))
    affiliations = Affiliations(ids, texts, kept.array("n_occurrences"))
    return Folded(affiliations, _aside(kept.table("set_aside")), kept.values["n_rows"])


FOLDED: Form[Folded] = Form(_pack_folded, _unpack_folded)


def cleaned_form(strings: Affiliations) -> Form[Cleaned]:
    """For cleaned texts of these strings."""

    def pack(cleaned: Cleaned) -> dict[str, Any]:
        return {"text": _table({"text": cleaned.text}), "set_aside": _aside_table(cleaned.set_aside)}

    def unpack(kept: Artefact) -> Cleaned:
        return Cleaned(strings, list_of(kept.table("text").column("text")), _aside(kept.table("set_aside")))

    return Form(pack, unpack)


#: Attributes of a mention that are several texts.
_SEVERAL = ("units", "acronyms")


def mentions_form(strings: Affiliations) -> Form[Mentions]:
    """For mentions in these strings."""
    names = [field.name for field in fields(Mention)]

    def pack(mentions: Mentions) -> dict[str, Any]:
        columns = {name: [getattr(m, name) for m in mentions.mention] for name in names}
        return {
            "mentions": _table(columns, _SEVERAL),
            "affiliation": mentions.affiliation,
            "set_aside": _aside_table(mentions.set_aside),
        }

    def unpack(kept: Artefact) -> Mentions:
        table = kept.table("mentions")
        columns = [_column(table, name, _SEVERAL) for name in names]
        mentions = [Mention(*row) for row in zip(*columns, strict=True)]
        return Mentions(strings, kept.array("affiliation"), mentions, _aside(kept.table("set_aside")))

    return Form(pack, unpack)


#: Columns of forms, all but the keys and the one array.
_FORMS = (
    *("display", "context", "organization", "concept", "context_concept", "units", "acronyms"),
    *("city", "region", "country_code"),
)


def _pack_forms(forms: Forms) -> dict[str, Any]:
    import pyarrow as pa

    columns = {name: getattr(forms, name) for name in _FORMS}
    kept = {
        "forms": _table(columns, ("acronyms",)),
        "keys": _table(forms.keys, tuple(forms.keys)),
        "is_main": forms.is_main,
        "known_names": forms.known.table if forms.known else None,
    }
    return kept | ({"known": pa.table(known_columns(forms.known))} if forms.known else {})


def _unpack_forms(kept: Artefact) -> Forms:
    forms, keys = kept.table("forms"), kept.table("keys")
    columns = {name: _column(forms, name, ("acronyms",)) for name in _FORMS}
    by_rule = {rule: _column(keys, rule, (rule,)) for rule in keys.column_names}
    known_names = kept.values["known_names"]
    known = known_records(kept.table("known"), known_names) if known_names else None
    return Forms(**columns, is_main=kept.array("is_main"), keys=by_rule, known=known)


FORMS: Form[Forms] = Form(_pack_forms, _unpack_forms)


def blocked_form(encoder: Encoder) -> Form[BlockingResult]:
    """For candidate pairs and vectors of this encoder; with the weights that the hashing one learned."""

    def pack(blocked: BlockingResult) -> dict[str, Any]:
        learned = blocked.encoder.state() if isinstance(blocked.encoder, HashingEncoder) else {}
        return {
            **vars(blocked.pairs),
            "text_number": blocked.text_number,
            "vectors": blocked.vectors,
            "n_pairs_by_rule": blocked.n_pairs_by_rule,
            "n_oversized_blocks": blocked.n_oversized_blocks,
            "searches": {view: asdict(search) for view, search in blocked.searches.items()},
            **{f"encoder_{name}": array for name, array in learned.items()},
        }

    def unpack(kept: Artefact) -> BlockingResult:
        names = [field.name for field in fields(CandidatePairs)]
        pairs = CandidatePairs(*(kept.array(name, is_mapped=True) for name in names))
        text_number, vectors = kept.array("text_number"), kept.array("vectors", is_mapped=True)
        counts = {name: kept.values[name] for name in ("n_pairs_by_rule", "n_oversized_blocks")}
        used = encoder
        if isinstance(encoder, HashingEncoder):
            state = {name: kept.array(f"encoder_{name}") for name in encoder.state()}
            used = HashingEncoder.from_state(state)
        searches = {view: Search(**search) for view, search in kept.values["searches"].items()}
        return BlockingResult(pairs, used, text_number, vectors, searches=searches, **counts)

    def lighten(blocked: BlockingResult, kept: Artefact) -> BlockingResult:
        names = [field.name for field in fields(CandidatePairs)]
        pairs = CandidatePairs(*(kept.array(name, is_mapped=True) for name in names))
        return replace(blocked, pairs=pairs, vectors=kept.array("vectors", is_mapped=True))

    return Form(pack, unpack, lighten)


def scored_form(pairs: CandidatePairs | None = None) -> Form[ScoredPairs]:
    """For scored pairs: of these candidate pairs, which are then not kept twice, or of any."""
    columns = ("left", "right", "similarity", "rule")

    def pack(scored: ScoredPairs) -> dict[str, Any]:
        own = {} if pairs is not None else {name: getattr(scored, name) for name in columns}
        chosen = np.flatnonzero(~np.isnan(scored.rescored))
        return own | {
            "logit": scored.logit,
            "chosen": chosen,
            "rescored": scored.rescored[chosen],
            "combination": scored.combination and asdict(scored.combination),
        }

    def unpack(kept: Artefact) -> ScoredPairs:
        known = {
            name: kept.array(name, is_mapped=True) if pairs is None else getattr(pairs, name)
            for name in columns
        }
        logit, combination = kept.array("logit", is_mapped=True), kept.values["combination"]
        rescored, chosen = not_rescored(len(logit)), kept.array("chosen")
        if len(chosen):
            rescored = rescored.copy()
            rescored[chosen] = kept.array("rescored")
        combined = combination and Combination(**combination)
        return ScoredPairs(**known, logit=logit, rescored=rescored, combination=combined)

    def lighten(scored: ScoredPairs, kept: Artefact) -> ScoredPairs:
        return replace(scored, logit=kept.array("logit", is_mapped=True))

    return Form(pack, unpack, lighten)


def linking_form(facts: RegistryFacts, settings: LinkingSettings) -> Form[Linking]:
    """For links to a registry."""

    def unpack(kept: Artefact) -> Linking:
        return Linking.of(facts, Links(*(kept.array(field.name) for field in fields(Links))), settings)

    return Form(lambda linking: dict(vars(linking.links)), unpack)


def _pack_clusters(clusters: Clusters) -> dict[str, Any]:
    own = {field.name: getattr(clusters, field.name) for field in fields(Clusters)}
    return own | {"silhouette": clusters.silhouette and list(clusters.silhouette.items())}


def _unpack_clusters(kept: Artefact) -> Clusters:
    arrays = {name: kept.array(name) for name in ("label", "height") if name not in kept.values}
    tried = kept.values["silhouette"]
    return Clusters(**(kept.values | arrays | {"silhouette": dict(map(tuple, tried)) if tried else tried}))


CLUSTERS: Form[Clusters] = Form(_pack_clusters, _unpack_clusters)


def consolidated_form(mentions: Mentions) -> Form[Consolidated]:
    """For institutions of these mentions, before a registry adds to them; few enough to be kept as JSON."""

    def pack(found: Consolidated) -> dict[str, Any]:
        texts = [json.dumps({k: getattr(i, k) for k in _INSTITUTION}) for i in found.institutions]
        institutions, entities = _table({"institution": texts}), _table({"entity_id": found.entity_id})
        return {
            "institutions": institutions,
            "entities": entities,
            "match_probability": found.match_probability,
        }

    def unpack(kept: Artefact) -> Consolidated:
        texts = list_of(kept.table("institutions").column("institution"))
        institutions = [Institution(**_tuples(json.loads(text))) for text in texts]
        entity = list_of(kept.table("entities").column("entity_id"))
        return Consolidated(institutions, mention_ids(mentions), entity, kept.array("match_probability"))

    return Form(pack, unpack)


_INSTITUTION = [field.name for field in fields(Institution) if field.name != "registry"]


def _tuples(value: Any) -> Any:
    """Values read from JSON, with tuples for its lists."""
    if isinstance(value, dict):
        return {key: _tuples(own) for key, own in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _aside_table(aside: SetAside) -> pa.Table:
    return _table(vars(aside))


def _aside(table: pa.Table) -> SetAside:
    return SetAside(*(list_of(table.column(field.name)) for field in fields(SetAside)))


def _table(columns: Mapping[str, Sequence[Any]], several: Sequence[str] = ()) -> pa.Table:
    """Columns of texts, numbers or truth values as an Arrow table; those in `several` are tuples of texts."""
    import pyarrow as pa

    text = pa.string()
    arrays = {}
    for name, values in columns.items():
        array = pa.array(values, pa.list_(text) if name in several else None)
        arrays[name] = array.cast(text) if pa.types.is_null(array.type) else array
    return pa.table(arrays)


def _column(table: pa.Table, name: str, several: Sequence[str]) -> list[Any]:
    column = table.column(name)
    return tuples_of(column) if name in several else list_of(column)
