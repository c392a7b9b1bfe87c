"""The models that can be named: those in the package, and the kinds that come from a folder or a hub."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from blocking.encoders import BUILT_IN


def list_models() -> list[dict[str, Any]]:
    """One entry a model: name, kind, licence, bytes (0: nothing stored), what it is, how to choose it."""
    scorer = files("pipeline") / "models" / "pair_scorer"
    size = sum(len(part.read_bytes()) for part in scorer.iterdir() if part.is_file())
    terms = len(json.loads((scorer / "model.json").read_text(encoding="utf-8"))["terms"])
    entries = [
        _entry(name, "encoder", "Apache-2.0", 0, what, f"--encoder {name}") for name, what in BUILT_IN.items()
    ]
    entries.append(
        _entry(
            "pair_scorer",
            "pair scorer",
            "Apache-2.0",
            size,
            f"additive model of {terms} tables over pair features, calibrated",
            "default; another file: [scoring] model",
        )
    )
    anything = "any model of sentence-transformers, from a folder or a hub id; its own licence holds"
    entries.append(_entry("PATH or HUB-ID", "encoder", "the model's own", None, anything, "--encoder PATH"))
    cross = "any CrossEncoder with one output, for the pairs that the features leave in doubt"
    entries.append(_entry("PATH or HUB-ID", "reranker", "the model's own", None, cross, "--reranker PATH"))
    return entries


def _entry(name: str, kind: str, licence: str, size: int | None, what: str, choose: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "licence": licence, "bytes": size, "what": what, "choose": choose}
