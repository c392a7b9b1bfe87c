"""The models that can be named: those in the package, and the kinds that come from a folder or a hub."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from blocking.encoders import BUILT_IN

#: The name under which settings ask for the encoder in the package.
BUILT_IN_ENCODER = "built-in"


def encoder_source(name: str) -> str:
    """An encoder's name in settings to what `blocking.load_encoder` takes: a folder for the built-in one."""
    return str(files("pipeline") / "models" / "encoder") if name == BUILT_IN_ENCODER else name


def list_models() -> list[dict[str, Any]]:
    """One entry a model: name, kind, licence, bytes (0: nothing stored), what it is, how to choose it."""
    encoder, scorer = (files("pipeline") / "models" / name for name in ("encoder", "pair_scorer"))
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
    anything = "any model of sentence-transformers, from a folder or a hub id; its own licence holds"
    entries.append(_entry("PATH or HUB-ID", "encoder", "the model's own", None, anything, "--encoder PATH"))
    cross = "any CrossEncoder with one output, for the pairs that the features leave in doubt"
    entries.append(_entry("PATH or HUB-ID", "reranker", "the model's own", None, cross, "--reranker PATH"))
    return entries


def _size(folder: Any) -> int:
    return sum(len(part.read_bytes()) for part in folder.iterdir() if part.is_file())


def _entry(name: str, kind: str, licence: str, size: int | None, what: str, choose: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "licence": licence, "bytes": size, "what": what, "choose": choose}
