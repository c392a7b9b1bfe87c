"""A linking job: input files in, a CSV for a curator out: organisations with ids and alternatives."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.consolidation import mention_ids
from pipeline.errors import UsageError
from pipeline.folding import fold_rows
from pipeline.inputs import expanded
from pipeline.judgements import Judgements, hold, read_judgements
from pipeline.linking import LinkModel, Links, Said, link, registry_facts
from pipeline.linking.features import RegistryFacts
from pipeline.model_list import load_named_encoder
from pipeline.normalization import normalize
from pipeline.preparation import mentions_of
from pipeline.reading import ReadingSettings, stage_rows
from pipeline.records import Forms, Mentions
from pipeline.registry import Registry
from pipeline.settings import Settings
from pipeline.stage_log import StageLog, Watcher
from pipeline.writing import write_csv

if TYPE_CHECKING:
    import pyarrow as pa

#: Other candidates that a row shows.
N_ALTERNATIVES = 3


@dataclass(frozen=True)
class LinkOutcome:
    """Where the CSV lies, and its figures."""

    file: Path
    n_strings: int
    n_mentions: int
    n_linked: int


def run_link_job(
    inputs: Sequence[str],
    output: str | Path,
    settings: Settings,
    reading: ReadingSettings | None = None,
    *,
    judgements: str | Path | None = None,
    watch: Watcher | None = None,
) -> LinkOutcome:
    """Input files (or `-`) become one CSV, whole or not at all.

    `settings.linking.registry` names the registry. Of the judgements those hold that say which record a
    string is.

    Raises:
        UsageError: a file, column, setting, registry or linker is not what it should be.
        AffilError: content that cannot be read, a disk that is full.
    """
    if settings.linking.registry is None:
        raise UsageError("no registry; give --registry FILE (made by `affil registry import`)")
    told = read_judgements(judgements) if judgements is not None else Judgements()
    log = StageLog(watch)
    with log("load registry"):
        LinkModel.load(settings.linking.model)
        facts = registry_facts(Registry.read(settings.linking.registry))
        encoder = load_named_encoder(settings.blocking)
    with tempfile.TemporaryDirectory(prefix="affil-link-") as scratch:
        with log("read") as tick:
            staged = stage_rows(
                expanded(inputs), Path(scratch) / "rows.parquet", reading or ReadingSettings(), tick
            )
        with log("fold rows"):
            folded = fold_rows(staged)
    with log("parse") as tick:
        mentions = mentions_of(folded.affiliations, settings, tick)
        forms = normalize(mentions, settings.normalization)
    with log("link") as tick:
        links = link(forms, facts, settings.linking, settings.blocking, encoder=encoder, on_progress=tick)
        said = Said.of(hold(told, mention_ids(mentions)).registry_key, facts.registry)
        links = said.links(links)
    table = links_table(mentions, forms, links, facts, settings.linking.min_link_probability)
    write_csv(table, output)
    n_linked = len(table) - table["registry_id"].null_count
    return LinkOutcome(Path(output), len(folded.affiliations), len(mentions), n_linked)


def links_table(
    mentions: Mentions, forms: Forms, links: Links, facts: RegistryFacts, min_probability: float
) -> pa.Table:
    """One row a mention: what the string says, the id that it gets (null for none), and the alternatives."""
    import pyarrow as pa

    registry, raw = facts.registry, mentions.affiliations
    found: list[list[tuple[int, int, float]]] = [[] for _ in range(len(mentions))]
    rows = zip(*(column.tolist() for column in vars(links).values()), strict=True)
    for mention, record, name, probability in rows:
        if len(found[mention]) <= N_ALTERNATIVES:
            found[mention].append((record, name, round(probability, 4)))
    columns: dict[str, list[Any]] = {
        "affiliation_id": [raw.affiliation_id[i] for i in mentions.affiliation.tolist()],
        "affiliation": [raw.affiliation[i] for i in mentions.affiliation.tolist()],
        "n_occurrences": raw.n_occurrences[mentions.affiliation].tolist(),
        "mention_id": mention_ids(mentions),
        "role": [m.role for m in mentions.mention],
        "organization": [d or None for d in forms.display],
        "city": forms.city,
        "country_code": forms.country_code,
    }
    taken = [own[0] if own and own[0][2] >= min_probability else None for own in found]
    columns["registry_id"] = [registry.id[t[0]] if t else None for t in taken]
    columns["registry_name"] = [registry.name[t[0]] if t else None for t in taken]
    columns["matched_name"] = [facts.names.names.value[t[1]] if t and t[1] >= 0 else None for t in taken]
    columns["probability"] = [t[2] if t else None for t in taken]
    others = [own[1 if t else 0 :] for own, t in zip(found, taken, strict=True)]
    for i in range(N_ALTERNATIVES):
        at = [own[i] if i < len(own) else None for own in others]
        columns[f"alternative_{i + 1}_id"] = [registry.id[t[0]] if t else None for t in at]
        columns[f"alternative_{i + 1}_name"] = [registry.name[t[0]] if t else None for t in at]
        columns[f"alternative_{i + 1}_probability"] = [t[2] if t else None for t in at]
    numbers = {name for name in columns if name.endswith("probability")}
    kinds = {name: pa.float64() if name in numbers else pa.string() for name in columns}
    kinds["n_occurrences"] = pa.int64()
    return pa.table({name: pa.array(column, kinds[name]) for name, column in columns.items()})
