"""The published models that can be named, as data: where they are, how they are read, under which licence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A similarity that a card states."""

    left: str
    right: str
    similarity: float


@dataclass(frozen=True)
class Preset:
    """A published model.

    Attributes:
        name: what settings call it.
        kind: "encoder" or "reranker".
        hub_id: where it is published.
        base: the model that it was trained from.
        what: what for, in a line.
        licence: as its card states it.
        warning: what a user must know of the licence; None where it allows any use.
        n_parameters: millions, rounded (cards and architectures).
        max_length: tokens that are read of a text, or of a pair.
        dimensions: of a vector, the largest first; more than one where it was trained to be cut.
        pooling: how tokens become one vector, where the published folder does not say.
        prompts: texts that can be chosen by name.
        known: similarities that the card states.
    """

    name: str
    kind: str
    hub_id: str
    base: str
    what: str
    licence: str
    n_parameters: int
    max_length: int
    warning: str | None = None
    dimensions: tuple[int, ...] = ()
    pooling: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    known: tuple[Known, ...] = ()

    @property
    def option(self) -> str:
        """How the command line asks for it."""
        return f"--{self.kind} {self.name}"


_NON_COMMERCIAL = "CC-BY-NC-4.0: not for commercial use"
_STANFORD = "Stanford University Department of Computer Science"
_ALL = (
    Preset(
        "gte-affiliations",
        "encoder",
        "cometadata/affiliation-clustering-0.3b",
        "Alibaba-NLP/gte-multilingual-base",
        "affiliations in many languages, trained to tell institutions apart",
        "none stated",
        305,
        8192,
        warning="its card states no licence (its base is Apache-2.0): ask its authors",
        dimensions=(768,),
        pooling="cls",
        known=(
            Known(_STANFORD, "Massachusetts Institute of Technology", 0.5692),
            Known(_STANFORD, "Stanford University", 0.9964),
            Known(_STANFORD, "University of California, Berkeley", 0.1198),
        ),
    ),
    Preset(
        "gte-base",
        "encoder",
        "Alibaba-NLP/gte-multilingual-base",
        "Alibaba-NLP/gte-multilingual-mlm-base",
        "any text in some 70 languages; base of gte-affiliations",
        "Apache-2.0",
        305,
        8192,
        dimensions=(768,),
        pooling="cls",
    ),
    Preset(
        "jina-affiliations",
        "reranker",
        "cometadata/jina-reranker-v2-multilingual-affiliations",
        "jinaai/jina-reranker-v2-base-multilingual",
        "pairs of affiliations in many languages",
        "CC-BY-NC-4.0",
        278,
        1024,
        warning=_NON_COMMERCIAL,
    ),
    Preset(
        "jina-base",
        "reranker",
        "jinaai/jina-reranker-v2-base-multilingual",
        "jinaai's own XLM-RoBERTa",
        "a query and a passage; base of jina-affiliations",
        "CC-BY-NC-4.0",
        278,
        1024,
        warning=_NON_COMMERCIAL,
    ),
    Preset(
        "mention-mask",
        "encoder",
        "maxwlnd/cl_mention_embedding",
        "google-bert/bert-base-uncased",
        "mentions of social groups, by the word that a sentence about them lacks; English",
        "MIT",
        110,
        512,
        dimensions=(128,),
        prompts={"mention": "Social group of {} is: [MASK]."},
    ),
    Preset(
        "embeddinggemma-academic",
        "encoder",
        "LinerAI/embeddinggemma-300m-academic",
        "google/embeddinggemma-300m",
        "queries and passages of academic search",
        "Gemma terms",
        308,
        2048,
        warning="Gemma terms of use (ai.google.dev/gemma/terms): not every use is allowed",
        dimensions=(768, 512, 256, 128),
        pooling="mean",
        prompts={"query": "task: search result | query: ", "passage": "title: none | text: "},
    ),
    Preset(
        "aspire",
        "encoder",
        "allenai/aspire-sentence-embedder",
        "allenai/scibert_scivocab_uncased",
        "sentences of scientific papers; English",
        "Apache-2.0",
        110,
        512,
        dimensions=(768,),
        pooling="cls",
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}


def locate(named: str) -> tuple[Preset | None, str]:
    """What settings name in; the preset, if it is one, and the folder or hub id to load out.

    A preset is named by its own name or its hub id, with `@revision` or without, or by its name and a copy of
    it, `gte-affiliations=FOLDER`. Anything else is a folder or hub id already.
    """
    name, equals, folder = named.partition("=")
    if equals and name in PRESETS:
        if not folder:
            raise UsageError(f"{named!r} names no folder; give {name} alone, or {name}=FOLDER")
        return PRESETS[name], folder
    name, at, revision = named.partition("@")
    by_hub_id = {preset.hub_id: preset for preset in _ALL}
    preset = PRESETS.get(name) or by_hub_id.get(name)
    return preset, f"{preset.hub_id}{at}{revision}" if preset else named


def locate_kind(named: str, kind: str) -> tuple[Preset | None, str]:
    """As `locate`, where only an "encoder" or a "reranker" will do; its licence is said where it must be.

    Raises:
        UsageError: the preset is of the other kind.
    """
    preset, source = locate(named)
    if preset is None:
        return preset, source
    if preset.kind != kind:
        article = "an" if preset.kind == "encoder" else "a"
        raise UsageError(f"{preset.name} is {article} {preset.kind}, no {kind}; give {preset.option}")
    if preset.warning:
        log.warning("%s: %s", preset.name, preset.warning)
    return preset, source
