"""Link: mentions and a registry in, the records that each could be with their probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blocking import BlockingSettings, CandidatePairs, Encoder, block_two
from blocking.memory import at_once
from pipeline.calibration import PlattScaling, sigmoid
from pipeline.errors import UsageError
from pipeline.linking.candidates import NAMES as CHOICE_FEATURES
from pipeline.linking.candidates import Candidates, candidates
from pipeline.linking.features import NAMES as NAME_FEATURES
from pipeline.linking.features import RegistryFacts, link_features
from pipeline.linking.prepared import registry_names
from pipeline.linking.settings import LinkingSettings
from pipeline.records import Float64s, Forms, Int64s, Progress
from pipeline.registry import Registry
from pipeline.scoring import AdditiveModel
from pipeline.scoring.tokens import Float32s
from pipeline.stage_log import Onward

log = logging.getLogger(__name__)
#: Files of a linker's folder.
NAME_MODEL, CHOICE_MODEL, CALIBRATION = "names.json", "choice.json", "calibration.json"
#: Mentions whose candidates are held in memory at a time, and the bytes that each takes (measured on the
#: example against 46,803 records).
_CHUNK, _BYTES_A_MENTION = 20_000, 90_000


@dataclass(frozen=True)
class Links:
    """Records that mentions could be, ordered by (mention, -probability, record).

    Attributes:
        mention: mention number, int64, shape (n,).
        record: record number, int64, shape (n,); each mention and record once.
        name: number of the registry name that speaks most for it, -1 where a person does; int64, shape (n,).
        probability: calibrated, shape (n,).
    """

    mention: Int64s
    record: Int64s
    name: Int64s
    probability: Float64s

    def __len__(self) -> int:
        return len(self.mention)

    @property
    def is_best(self) -> npt.NDArray[np.bool_]:
        """Which is the most probable of its mention, shape (n,)."""
        return np.asarray(np.diff(self.mention, prepend=-1) != 0, bool)


@dataclass(frozen=True)
class LinkModel:
    """What judges names, what chooses among records, and the line to calibrated log-odds."""

    names: AdditiveModel
    choice: AdditiveModel
    calibration: PlattScaling

    @classmethod
    def load(cls, folder: str | None) -> LinkModel:
        """The linker of a folder, or the shipped one for None.

        Raises:
            UsageError: a file is missing or no model.
        """
        return _load(folder)


@lru_cache(maxsize=2)
def _load(folder: str | None) -> LinkModel:
    home = Path(folder) if folder else Path(str(files("pipeline") / "models" / "linker"))
    missing = [n for n in (NAME_MODEL, CHOICE_MODEL, CALIBRATION) if not (home / n).is_file()]
    if missing:
        raise UsageError(f"{home} is no linker: no {missing[0]} in it; make one with `affil train linker`")
    return LinkModel(
        AdditiveModel.load(str(home / NAME_MODEL), NAME_FEATURES),
        AdditiveModel.load(str(home / CHOICE_MODEL), CHOICE_FEATURES),
        PlattScaling.load(str(home / CALIBRATION)),
    )


def registry_facts(registry: Registry) -> RegistryFacts:
    """A registry to what linking asks of it; made once for many calls."""
    return RegistryFacts(registry, registry_names(registry))


def link(
    forms: Forms,
    facts: RegistryFacts,
    settings: LinkingSettings | None = None,
    blocking: BlockingSettings | None = None,
    *,
    encoder: Encoder | None = None,
    on_progress: Progress | None = None,
) -> Links:
    """Mentions in normalised forms to the records that each could be.

    Args:
        forms: of the mentions.
        facts: of the registry.
        settings: which model, how many candidates.
        blocking: how neighbours are searched.
        encoder: to search with; one that learns from a corpus and has not yet learns from the names.
        on_progress: called with (texts searched and mentions done, all of both as far as known).

    Raises:
        UsageError: a linker that is missing or broken.
    """
    settings = settings or LinkingSettings()
    model = LinkModel.load(settings.model)
    told = Onward(on_progress)
    pairs = block_names(forms, facts, settings, blocking, encoder, told)
    told.next()
    parts = []
    string = string_numbers(forms)
    for start, end in _chunks(string, at_once(_CHUNK, _BYTES_A_MENTION)):
        low, high = np.searchsorted(pairs.left, [start, end])
        part = CandidatePairs(*(c[low:high] for c in vars(pairs).values()))
        if len(part):
            values = link_features(forms, facts, part)
            found = candidates(part, values, logits_of(model.names, values, NAME_FEATURES), string, facts)
            logit = logits_of(model.choice, found.features, CHOICE_FEATURES)
            parts.append(_linked(found, logit, model.calibration))
        told(end, len(forms))
    none = np.empty(0, np.int64)
    links = parts[0] if parts else Links(none, none, none, np.empty(0))
    if len(parts) > 1:
        links = Links(*(np.concatenate(c) for c in zip(*(vars(p).values() for p in parts), strict=True)))
    links = _at(settings.granularity, links, facts.registry)
    log.info("linked %d mentions: %d candidates", len(forms), len(links))
    return links


def block_names(
    forms: Forms,
    facts: RegistryFacts,
    settings: LinkingSettings,
    blocking: BlockingSettings | None = None,
    encoder: Encoder | None = None,
    on_progress: Progress | None = None,
) -> CandidatePairs:
    """The names worth comparing with each mention: pairs of a mention and, from `len(forms)` on, a name."""
    searched = replace(blocking or BlockingSettings(), n_neighbours=settings.n_candidates)
    names = facts.names.forms
    views, keys = (_views(forms), _views(names)), (forms.keys, names.keys)
    return block_two(*views, *keys, searched, encoder=encoder, on_progress=on_progress)


def _views(forms: Forms) -> dict[str, list[str]]:
    """The organisation before the whole string: it is what names are like.

    A string that names no organisation as parsing reads it may have the name of one all the same.
    """
    return {"organization_neighbours": forms.concept, "neighbours": forms.context}


def string_numbers(forms: Forms) -> Int64s:
    """The string of each mention, shape (n,): parsing gives the main one of a string before its others."""
    return np.maximum(np.cumsum(forms.is_main, dtype=np.int64) - 1, 0)


def _chunks(string: Int64s, size: int) -> Iterator[tuple[int, int]]:
    """Runs of some `size` mentions, (start, end): all mentions of a string are in one."""
    start = 0
    while start < len(string):
        last = string[min(start + size, len(string)) - 1]
        end = int(np.searchsorted(string, last, "right"))
        yield start, end
        start = end


def logits_of(model: AdditiveModel, features: Float32s, names: Sequence[str]) -> Float64s:
    """Features in columns of these names, shape (n, len(names)), to log-odds by those that a model asks."""
    return model.logits(features[:, [names.index(f) for f in model.features]])


def _linked(found: Candidates, logit: Float64s, calibration: PlattScaling) -> Links:
    return ordered_links(found.mention, found.record, found.name, sigmoid(calibration.apply(logit)))


def ordered_links(mention: Int64s, record: Int64s, name: Int64s, probability: Float64s) -> Links:
    """Columns of links in any order to links."""
    order = np.lexsort([record, -probability, mention])
    return Links(mention[order], record[order], name[order], probability[order])


def _at(granularity: str, links: Links, registry: Registry) -> Links:
    """Links to the records asked for; where several lead to one, its most probable stays."""
    if granularity != "parent":
        return links
    found = ordered_links(links.mention, registry.top[links.record], links.name, links.probability)
    key = found.mention * len(registry) + found.record
    kept = np.sort(np.unique(key, return_index=True)[1])
    return Links(*(column[kept] for column in vars(found).values()))
