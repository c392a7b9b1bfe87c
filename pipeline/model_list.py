"""The models that can be named: those in the package, and the kinds that come from a folder or a hub."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

from blocking import BlockingSettings, Encoder, load_encoder
from blocking.encoders import AUTO, BUILT_IN
from blocking.hub import pinned
from blocking.neighbours import EXACT_ROWS
from pipeline.errors import UsageError
from pipeline.presets import PRESETS, Preset, locate, locate_kind
from pipeline.scoring import BUILT_IN_RERANKER, NO_RERANKER

#: The name under which settings ask for the encoder in the package.
BUILT_IN_ENCODER = "built-in"
#: Mentions above which "auto" is that encoder, and below which it is "hashing". While the search is exact
#: both make equally good clusters; an index finds far more of the neighbours by trained vectors.
AUTO_MENTIONS = EXACT_ROWS
#: What lists call the reranker in the package: settings say "built-in", as of the encoder.
SHIPPED_RERANKER = "reranker"


def encoder_source(name: str) -> str:
    """An encoder's name in settings to where it is: a folder, a hub id, or a name that blocking knows."""
    return str(files("pipeline") / "models" / "encoder") if name == BUILT_IN_ENCODER else locate(name)[1]


def reranker_source(name: str) -> str | None:
    """A reranker's name in settings to the folder or hub id it stands for, None for none."""
    if name == BUILT_IN_RERANKER:
        return str(files("pipeline") / "models" / "reranker")
    return None if name == NO_RERANKER else locate(name)[1]


def load_named_encoder(settings: BlockingSettings, n_mentions: int = 0) -> Encoder:
    """The encoder that blocking's settings name: built in, a preset, a folder or a hub id.

    Args:
        settings: what names it.
        n_mentions: how many will be encoded; "auto" goes by it.

    Raises:
        UsageError: the preset is a reranker, or was not trained for `truncate_dim`.
        BlockingError: no such model, a model of the wrong kind, a setting that it cannot follow.
    """
    if settings.encoder == AUTO and n_mentions > AUTO_MENTIONS:
        settings = replace(settings, encoder=BUILT_IN_ENCODER)
    preset, _ = locate_kind(settings.encoder, "encoder")
    if preset is not None:
        return _load_preset(preset, settings)
    return load_encoder(
        encoder_source(settings.encoder),
        truncate_dim=settings.truncate_dim,
        device=settings.device,
        batch_size=settings.batch_size,
        prompt=settings.prompt,
        revision=settings.revision,
    )


def _load_preset(preset: Preset, settings: BlockingSettings) -> Encoder:
    from blocking.sentence import SentenceSettings, SentenceTransformerEncoder

    dimensions, prompt = settings.truncate_dim, settings.prompt
    if dimensions is not None and len(preset.dimensions) > 1 and dimensions not in preset.dimensions:
        allowed = ", ".join(map(str, preset.dimensions))
        raise UsageError(f"{preset.name} was trained to be cut to {allowed} dimensions, not to {dimensions}")
    return SentenceTransformerEncoder(
        pinned(encoder_source(settings.encoder), settings.revision),
        SentenceSettings(
            truncate_dim=dimensions,
            prompt=None if prompt is None else preset.prompts.get(prompt, prompt),
            batch_size=settings.batch_size,
            device=settings.device,
            pooling=preset.pooling,
            max_length=preset.max_length,
        ),
    )


def list_models() -> list[dict[str, Any]]:
    """One entry a model: name, kind, licence, bytes (0: nothing stored), what it is, how to choose it."""
    shipped = ("encoder", "pair_scorer", "parser", SHIPPED_RERANKER, "names")
    encoder, scorer, parser, reranker, names = (files("pipeline") / "models" / name for name in shipped)
    terms = len(json.loads((scorer / "model.json").read_text(encoding="utf-8"))["terms"])
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    grams = (
        f"words, word pairs and character n-grams, {1 << config['bucket_bits']:,} x {config['dimensions']}"
    )
    entries = [
        _entry(
            BUILT_IN_ENCODER,
            "encoder",
            "Apache-2.0",
            _size(encoder),
            f"trained vectors of hashed {grams}",
            f"--encoder {BUILT_IN_ENCODER}",
        )
    ]
    entries += [
        _entry(name, "encoder", "Apache-2.0", 0, what, f"--encoder {name}") for name, what in BUILT_IN.items()
    ]
    entries.append(
        _entry(
            "pair_scorer",
            "pair scorer",
            "Apache-2.0",
            _size(scorer),
            f"additive model of {terms} tables over pair features, calibrated",
            "default; another file: [scoring] model",
        )
    )
    entries.append(
        _entry(
            "parser",
            "parser",
            "Apache-2.0",
            _size(parser),
            "tagger of organisations beside the main one, convolutions over hashed features of words",
            'default; another folder: [parsing] model; "rules": none',
        )
    )
    entries.append(
        _entry(
            "names",
            "known names",
            "Apache-2.0",
            _size(names),
            "names of records of ROR as hashes: which names are one organisation's",
            'default; another folder: [normalization] known_names; "none": none',
        )
    )
    entries.append(
        _entry(
            SHIPPED_RERANKER,
            "reranker",
            "Apache-2.0",
            _size(reranker),
            "transformer over the words and features of a pair, for pairs in doubt",
            f"--reranker {BUILT_IN_RERANKER}",
        )
    )
    entries.append(
        _entry(
            "linker",
            "linker",
            "Apache-2.0",
            _size(files("pipeline") / "models" / "linker"),
            "additive models: one judges registry names, one chooses among their records; calibrated",
            "default; another folder: [linking] model",
        )
    )
    entries += [
        _entry(p.name, p.kind, p.licence, None, f"{p.what} ({p.n_parameters} M parameters)", p.option)
        for p in PRESETS.values()
    ]
    anything = "any model of sentence-transformers, from a folder or a hub id; its own licence holds"
    entries.append(_entry("PATH or HUB-ID", "encoder", "the model's own", None, anything, "--encoder PATH"))
    cross = "any CrossEncoder with one output, for the pairs that the features leave in doubt"
    entries.append(_entry("PATH or HUB-ID", "reranker", "the model's own", None, cross, "--reranker PATH"))
    return entries


def _size(folder: Any) -> int:
    return sum(len(p.read_bytes()) if p.is_file() else _size(p) for p in folder.iterdir())


def _entry(name: str, kind: str, licence: str, size: int | None, what: str, choose: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "licence": licence, "bytes": size, "what": what, "choose": choose}
