"""Stages that are kept: each is run once, for as long as all that it was made from stays the same.

A stage's fingerprint names the content of the stages before it, the settings and model files that it reads,
and the code. What changes is therefore redone, with what depends on it, and nothing else; a stage that is
redone with the same outcome leaves those after it alone.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import blocking
from blocking.encoders import AUTO
from pipeline.artefacts import FOLDED, FORMS, Form, mentions_form
from pipeline.checkpoints import FORMAT, Artefact, StageStore, own_version
from pipeline.model_list import encoder_source, reranker_source
from pipeline.records import Forms, Mentions, Progress
from pipeline.run_folder import STAGES
from pipeline.scoring.score import FREQUENCIES
from pipeline.settings import Settings
from pipeline.stage_log import StageLog

T = TypeVar("T")


@dataclass(frozen=True)
class Needs:
    """What a stage is made from: stages before it, sections of the settings less some keys, and more."""

    stages: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    but: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()


#: Only the second pass reads these.
_SECOND_PASS = frozenset({"blocking.n_group_neighbours", "blocking.n_representatives"})
#: Only what clusters make of links reads these.
_VOTE = frozenset({"linking.min_link_probability", "linking.min_conflict_probability"})
#: What parsing does not read of normalization: all but the table of known names.
_KEYS = frozenset(f"normalization.use_{key}" for key in ("same_form", "acronym_place", "transliteration"))
_KEYS |= {"normalization.use_known_name"}
NEEDS: Mapping[str, Needs] = {
    "read": Needs(more=("inputs",)),
    "fold rows": Needs(("read",)),
    "clean": Needs(("fold rows",), ("cleaning",)),
    "parse": Needs(("clean",), ("parsing", "normalization"), _KEYS),
    "normalize": Needs(("parse",), ("normalization",)),
    "block": Needs(("normalize",), ("blocking",), _SECOND_PASS),
    "score": Needs(("normalize", "block"), ("scoring",)),
    "second pass": Needs(("parse", "normalize", "block", "score"), ("blocking", "scoring", "calibration")),
    "link": Needs(("normalize",), ("linking", "blocking"), _SECOND_PASS | _VOTE),
    "cluster": Needs(
        ("parse", "normalize", "block", "score", "second pass", "link"),
        ("calibration", "clustering", "linking"),
        more=("judgements",),
    ),
    "consolidate": Needs(
        ("parse", "normalize", "score", "second pass", "cluster"), ("calibration", "canonical")
    ),
}


@dataclass
class KeptStages(StageLog):
    """Stages of one run, timed and kept in a store.

    Attributes:
        store: where they are kept.
        settings: of the run.
        more: names what is neither a setting nor a stage: "inputs" (None: a stream, which is read anew) and
            "judgements".
    """

    store: StageStore = field(kw_only=True)
    settings: Settings = field(kw_only=True)
    more: Mapping[str, str | None] = field(kw_only=True)
    _digests: dict[str, str] = field(default_factory=dict, init=False)

    def run(self, name: str, make: Callable[[Progress | None], T], form: Form[T] | None = None) -> T:
        """What the stage makes: from the store where it is there and sound, else made, and kept."""
        if form is None or name not in NEEDS:
            return super().run(name, make, form)
        fingerprint = self.fingerprint(name)
        kept = self.store.find(name, fingerprint)
        with self(name, is_reused=kept is not None) as tick:
            if kept is not None:
                found = form.unpack(kept)
            else:
                found = make(tick)
                kept = self.store.save(name, fingerprint, form.pack(found))
                found = form.lighten(found, kept) if form.lighten else found
        self._digests[name] = kept.digest
        return found

    def digest(self, name: str) -> str:
        """Names the content of a stage that was run."""
        return self._digests[name]

    def fingerprint(self, name: str) -> str:
        """Names everything that the stage is made from; the stages before it have been run."""
        needs = NEEDS[name]
        sections = {section: self._values(section, needs.but) for section in needs.sections}
        models = {s: [_content(path) for path in model_files(self.settings, s)] for s in needs.sections}
        before = {stage: self._digests.get(stage) for stage in needs.stages}
        # What has no name of its own is never the same.
        more = {key: self.more[key] or secrets.token_hex() for key in needs.more}
        made_from = [FORMAT, _code(), name, before, sections, models, more]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=list).encode()).hexdigest()

    def _values(self, section: str, but: frozenset[str]) -> dict[str, Any]:
        values = self.settings.to_dict()[section]
        return {key: value for key, value in values.items() if f"{section}.{key}" not in but}


def kept_mentions(run: Path, settings: Settings) -> tuple[Mentions, Forms] | None:
    """A finished run in, its mentions and their forms out, as its stages have them.

    None where a stage was deleted, is damaged, or was made by other code or models than there are now.
    """
    store = StageStore(run / STAGES)
    folded = store.last("fold rows")
    if folded is None:
        return None
    log, kept = KeptStages(store=store, settings=settings, more={}), dict[str, Artefact]()
    log._digests["fold rows"] = folded.digest
    for name in ("clean", "parse", "normalize"):
        found = store.find(name, log.fingerprint(name))
        if found is None:
            return None
        kept[name], log._digests[name] = found, found.digest
    strings = FOLDED.unpack(folded).affiliations
    return mentions_form(strings).unpack(kept["parse"]), FORMS.unpack(kept["normalize"])


def model_files(settings: Settings, section: str) -> list[Path]:
    """A section of settings in, the files of the models that it names or that are shipped for it out."""
    shipped = files("pipeline") / "models"
    scorer = settings.scoring.model
    named: dict[str, tuple[str | None, ...]] = {
        "parsing": (settings.parsing.model, str(shipped / "parser")),
        "normalization": (settings.normalization.known_names, str(shipped / "names")),
        "blocking": (
            encoder_source(settings.blocking.encoder),
            str(shipped / "encoder") if settings.blocking.encoder == AUTO else None,
        ),
        "scoring": (
            scorer,
            scorer and str(Path(scorer).parent / FREQUENCIES),
            reranker_source(settings.scoring.reranker),
            str(shipped / "pair_scorer"),
        ),
        "calibration": (settings.calibration.file, str(shipped / "pair_scorer")),
    }
    if settings.linking.registry:
        linker = settings.linking.model or str(shipped / "linker")
        named["linking"] = settings.linking.registry, linker
    found = []
    for path in (Path(name).expanduser() for name in named.get(section, ()) if name):
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file())
        else:
            found += [path] * path.is_file()
    return found


def _content(path: Path) -> str:
    state = path.stat()
    return _content_of(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _content_of(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Names the code and the word lists that a result comes from: those of another version give another."""
    digest = hashlib.sha256(own_version().encode())
    for root in (Path(str(files("pipeline"))), Path(str(files(blocking)))):
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".tsv", ".txt")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
