"""The tools that are compared: their scripts, and the settings to choose from, the default first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OURS = "ours"
#: Ours without what it knows of the registry that the synthetic strings are made of.
WITHOUT_NAMES = "ours-without-names"


@dataclass(frozen=True)
class Peer:
    """A tool: what it is called, its script (None: `affil resolve`), settings to try, the default first."""

    name: str
    title: str
    script: str | None
    settings: tuple[dict[str, Any], ...] = ({},)
    needs_labels: bool = False

    @property
    def requirements(self) -> Path | None:
        """Its pinned packages; None where those of this project will do."""
        path = HERE / f"{self.script}.txt"
        return path if self.script and path.exists() else None


def _each(name: str, *values: object, **more: object) -> tuple[dict[str, Any], ...]:
    return tuple({name: value, **more} for value in values)


_NO_NAMES = {"normalization.known_names": "none"}
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "affiliation-resolver", None),
        Peer(WITHOUT_NAMES, "affiliation-resolver, no known names", None, (_NO_NAMES,)),
        Peer(
            "fingerprint",
            "OpenRefine, key collision",
            "fingerprint",
            (*_each("method", "fingerprint"), *_each("size", 2, 1, method="ngram-fingerprint")),
        ),
        Peer(
            "tfidf",
            "TF-IDF of characters, average linkage",
            "tfidf",
            _each("cut", 0.6, 0.65, 0.7, 0.75, 0.8),
        ),
        Peer(
            "string_grouper",
            "string_grouper",
            "string_grouper_groups",
            _each("min_similarity", 0.8, 0.7, 0.65, 0.6, 0.55, 0.5),
        ),
        Peer(
            "recordlinkage",
            "recordlinkage",
            "recordlinkage_pairs",
            _each("threshold", 0.85, 0.75, 0.65, 0.55, window=9),
        ),
        Peer(
            "dedupe",
            "dedupe",
            "dedupe_learned",
            _each("threshold", 0.5, 0.15, 0.3, 0.7, n_labels=120),
            needs_labels=True,
        ),
        Peer("splink", "splink", "splink_model", _each("threshold", 0.95, 0.8, 0.5, 0.2, 0.05)),
        Peer(
            "goldenmatch",
            "goldenmatch",
            "goldenmatch_fuzzy",
            _each("threshold", None, 0.95, 0.9, 0.85, 0.8, 0.75),
        ),
    )
}


def choose(peer: Peer, tried: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Runs of a peer on the tune fold to the setting of the best; the default where none came through."""
    done = [run for run in tried if run["status"] == "ok" and run["setting"] in peer.settings]
    return max(done, key=lambda run: run["b3_f1"])["setting"] if done else peer.settings[0]
