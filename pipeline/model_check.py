"""What a model is, and whether it does what its card says."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blocking import BlockingSettings
from blocking.conversion import convert, native_folder
from blocking.errors import ModelNotFoundError
from blocking.hub import fetch, read_configurations, split_revision
from pipeline.errors import AffilError, UsageError
from pipeline.model_list import (
    BUILT_IN_ENCODER,
    SHIPPED_RERANKER,
    encoder_source,
    list_models,
    load_named_encoder,
    reranker_source,
)
from pipeline.preparation import prepare
from pipeline.presets import PRESETS, Preset, locate
from pipeline.scoring import (
    BUILT_IN_RERANKER,
    PairFeatures,
    ScoringSettings,
    WordPairReranker,
    fit_vocabulary,
    load_rescorer,
)
from pipeline.scoring.word_pair_model import read_config

#: A right conversion reproduces a card's four decimals; another pooling, prompt or RoPE is further off.
TOLERANCE = 0.01
#: What says in a licence's name that not every use is allowed.
_RESTRICTED = re.compile(r"(?i)\bnc\b|non-?commercial|gemma|llama|openrail|research")
_LICENCE = re.compile(r"(?m)^license(?:_name)?:\s*[\"']?([^\s\"']+)")


@dataclass(frozen=True)
class Similarity:
    """A pair whose similarity a card states, and what was measured."""

    left: str
    right: str
    stated: float
    found: float

    @property
    def is_near(self) -> bool:
        """Whether both agree."""
        return abs(self.stated - self.found) <= TOLERANCE


@dataclass(frozen=True)
class ModelCheck:
    """What a model is, by label, and its known similarities."""

    name: str
    warning: str | None
    facts: dict[str, Any]
    similarities: list[Similarity] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether every known similarity was found."""
        return all(s.is_near for s in self.similarities)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = [asdict(s) | {"is_near": s.is_near} for s in self.similarities]
        return {"name": self.name, "warning": self.warning, "is_right": self.is_right} | {
            "facts": self.facts,
            "similarities": found,
        }


def show(named: str) -> ModelCheck:
    """A model's name in settings to what is known of it without loading it.

    Raises:
        UsageError: there is no preset nor built-in model of that name.
    """
    preset, source = locate(named)
    if preset is None:
        entries = {entry["name"]: entry for entry in list_models() if "PATH" not in entry["name"]}
        if named not in entries:
            names = ", ".join(sorted(entries))
            raise UsageError(
                f"no model {named!r} (known: {names}); for a folder or hub id: affil models check"
            )
        entry = entries[named]
        return ModelCheck(named, None, {k: entry[k] for k in ("kind", "what", "licence", "choose")})
    facts = {
        "kind": preset.kind,
        "what for": preset.what,
        "from": source,
        "base": preset.base,
        "licence": preset.licence,
        "parameters": f"{preset.n_parameters} million",
        "dimensions": ", ".join(map(str, preset.dimensions)) or "a logit a pair",
        "longest text": f"{preset.max_length} tokens",
        "pooling": preset.pooling or "as the folder says",
        "prompt": _default_prompt(preset),
        "prompts": {name: text for name, text in preset.prompts.items() if "{}" not in text},
        "choose": preset.option,
    }
    return ModelCheck(preset.name, preset.warning, {k: v for k, v in facts.items() if v not in (None, {})})


def _default_prompt(preset: Preset) -> str | None:
    """Which prompt is used unasked: a sentence with a mask is needed, other prompts are a choice."""
    needed = [text for text in preset.prompts.values() if "{}" in text]
    if needed:
        return needed[0]
    return "none, as on its card; by name: " + ", ".join(preset.prompts) if preset.prompts else None


def check(named: str, device: str = "auto") -> ModelCheck:
    """A model's name, folder or hub id to what it is once loaded, and its known similarities measured.

    Raises:
        AffilError, BlockingError: it cannot be loaded.
    """
    preset, source = locate(named)
    if named == SHIPPED_RERANKER or read_config(named) is not None:
        return _check_word_pairs(named)
    if named not in ("hashing", BUILT_IN_ENCODER) and _kind(preset, source) == "reranker":
        return _check_reranker(named, preset, device)
    from blocking.sentence import SentenceTransformerEncoder

    encoder = load_named_encoder(BlockingSettings(encoder=named, device=device))
    facts: dict[str, Any] = {"kind": "encoder", "dimensions": encoder.dimensions}
    folder = Path(encoder_source(named))
    if isinstance(encoder, SentenceTransformerEncoder):
        folder = encoder.folder
        facts |= encoder.describe() | {"longest text": f"{encoder.max_length} tokens"}
    found = []
    for known in preset.known if preset else ():
        a, b = encoder.encode([known.left, known.right])
        found.append(Similarity(known.left, known.right, known.similarity, round(float(a @ b), 4)))
    return _finished(named, preset, folder, facts, found)


def _kind(preset: Preset | None, source: str) -> str:
    if preset is not None:
        return preset.kind
    name, revision = split_revision(source)
    try:
        config = read_configurations(name, revision).get("config.json", {})
    except ModelNotFoundError as error:
        raise UsageError(f"no model {source!r}: {error} (presets: {', '.join(PRESETS)})") from error
    is_pairwise = any("SequenceClassification" in str(a) for a in config.get("architectures") or [])
    return "reranker" if is_pairwise else "encoder"


def _check_reranker(named: str, preset: Preset | None, device: str) -> ModelCheck:
    from pipeline.scoring import CrossEncoderScorer

    scorer = load_rescorer(ScoringSettings(reranker=named, device=device))
    if not isinstance(scorer, CrossEncoderScorer):
        raise UsageError(f"{named} is built in; there is nothing to check")
    pair = ["University of Oxford"], ["Univ Oxford, Oxford, England"]
    facts = {"kind": "reranker"} | scorer.describe()
    one, other = float(scorer.directed_logits(*pair)[0]), float(scorer.directed_logits(*pair[::-1])[0])
    facts["a pair"] = f"{pair[0][0]} | {pair[1][0]}: logit {one:.4f}, in the other order {other:.4f}"
    return _finished(named, preset, scorer.folder, facts, [])


def _check_word_pairs(named: str) -> ModelCheck:
    """A reranker of the built-in kind to what it is, and its answer for a pair."""
    is_shipped = named == SHIPPED_RERANKER
    source = reranker_source(BUILT_IN_RERANKER if is_shipped else named) or named
    reranker = WordPairReranker.load(source)
    strings = ["University of Oxford", "Univ Oxford, Oxford, England"]
    _, forms = prepare(strings)
    one = np.zeros(1, np.int64)
    logit = float(reranker.rescore(PairFeatures(forms, fit_vocabulary(forms)), one, one + 1)[0])
    facts = {"kind": "reranker"} | reranker.describe()
    facts["a pair"] = f"{strings[0]} | {strings[1]}: logit {logit:.4f} in either order"
    if is_shipped:
        facts["licence"] = "Apache-2.0"
    return _finished(named, None, Path(source), facts, [])


def _finished(
    named: str, preset: Preset | None, folder: Path, facts: dict[str, Any], found: list[Similarity]
) -> ModelCheck:
    licence = preset.licence if preset else licence_of(folder)
    warning = preset.warning if preset else None
    if preset is None and _RESTRICTED.search(licence):
        warning = f"{licence}: not every use is allowed"
    facts = {"from": str(folder), "licence": licence} | facts
    return ModelCheck(named, warning, {k: v for k, v in facts.items() if v not in ("", {})}, found)


def licence_of(folder: Path) -> str:
    """A model folder to the licence that its card states in its head, "not stated" without one."""
    card = folder / "README.md"
    if not card.is_file():
        return "not stated"
    # Some cards state it without the lines that mark a head.
    found = _LICENCE.findall(card.read_text(encoding="utf-8", errors="replace")[:4000])
    return " ".join(dict.fromkeys(found)) or "not stated"


def convert_named(named: str, output: Path | None) -> Path:
    """A model's name, folder or hub id to the folder that native classes load; written to `output` if given.

    Raises:
        AffilError, BlockingError: there is no such model, it cannot be converted, or need not be.
    """
    name, revision = split_revision(locate(named)[1])
    try:
        folder = fetch(name, revision)
    except ModelNotFoundError as error:
        raise AffilError(f"no model {named!r}: {error}") from error
    return convert(folder, output) if output else native_folder(folder)
