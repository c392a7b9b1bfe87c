"""Settings: one frozen dataclass a stage, composed; read from TOML; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rapidfuzz import process

from blocking import BlockingSettings
from pipeline.calibration import CalibrationSettings
from pipeline.cleaning import CleaningSettings
from pipeline.clustering import ClusteringSettings
from pipeline.consolidation import CanonicalSettings
from pipeline.errors import UsageError
from pipeline.linking import LinkingSettings
from pipeline.normalization import NormalizationSettings
from pipeline.parsing import ParsingSettings
from pipeline.scoring import ScoringSettings


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run, a section a stage."""

    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    parsing: ParsingSettings = field(default_factory=ParsingSettings)
    normalization: NormalizationSettings = field(default_factory=NormalizationSettings)
    blocking: BlockingSettings = field(default_factory=BlockingSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    clustering: ClusteringSettings = field(default_factory=ClusteringSettings)
    linking: LinkingSettings = field(default_factory=LinkingSettings)
    canonical: CanonicalSettings = field(default_factory=CanonicalSettings)

    @classmethod
    def read(cls, path: str | Path) -> Settings:
        """A TOML file with a table a stage (`[blocking]`, `[clustering]` …) to settings."""
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"no such settings file: {path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read settings file {path}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        return cls.from_dict(data, str(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "settings") -> Settings:
        """Nested mappings to settings; UsageError names what is unknown or mistyped, and the nearest name."""
        sections = {f.name: f for f in dataclasses.fields(cls)}
        defaults, found = cls(), {}
        for name, values in data.items():
            if name not in sections:
                raise UsageError(f"{source}: unknown section [{name}]; {_nearest(name, sections)}")
            if not isinstance(values, Mapping):
                raise UsageError(f"{source}: {name} must be a table: [{name}]")
            kind = typing.get_type_hints(cls)[name]
            own = read_values(kind, values, f"{source}: {name}")
            found[name] = dataclasses.replace(getattr(defaults, name), **own)
        return cls(**found)

    def with_values(self, **sections: Mapping[str, Any]) -> Settings:
        """These settings with some values changed: `settings.with_values(blocking={"n_neighbours": 50})`."""
        data = self.to_dict()
        for name, values in sections.items():
            data.setdefault(name, {}).update(values)
        return Settings.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as `from_dict` takes them (None values left out, as TOML has none)."""
        data = dataclasses.asdict(self)
        return {s: {k: v for k, v in values.items() if v is not None} for s, values in data.items()}

    def fingerprint(self) -> str:
        """16 hex digits that name these settings."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_values(kind: Any, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Plain values to those of a dataclass's fields; UsageError names what is unknown or of a wrong type."""
    hints = typing.get_type_hints(kind)
    found = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(f"{source}.{key}: unknown setting; {_nearest(key, hints)}")
        found[key] = _typed(value, hints[key], f"{source}.{key}")
    return found


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A value as the type that a field asks for; only int to float and list to tuple are changed."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is tuple and isinstance(value, list | tuple):
            return _items(value, typing.get_args(option), where)
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if (
            isinstance(origin, type)
            and isinstance(value, origin)
            and not (origin is int and isinstance(value, bool))
        ):
            return value
    names = " or ".join(getattr(o, "__name__", str(o)) for o in options if o is not type(None))
    raise UsageError(f"{where} must be {names}, got {value!r}")


def _items(values: Sequence[Any], kinds: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    """Items of the types that a tuple asks for: `tuple[float, float]`, or `tuple[str, ...]` of any length."""
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(values)
    if len(values) != len(kinds):
        raise UsageError(f"{where} must have {len(kinds)} values, got {list(values)!r}")
    return tuple(_typed(v, kind, where) for v, kind in zip(values, kinds, strict=True))


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    best = process.extractOne(name, list(known))
    return f"did you mean {best[0]!r}? (known: {', '.join(known)})"
