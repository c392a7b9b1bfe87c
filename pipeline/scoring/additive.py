"""The feature model: a sum of small tables over one or two binned features, read from a JSON file.

Additive with pairwise interactions (Lou et al. 2013, "Accurate intelligible models with pairwise
interactions"), so that the contribution of every feature to a decision can be read off exactly. Fitted by
`affil train scorer`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError

Float64s = npt.NDArray[np.float64]
FORMAT = "affiliation-resolver additive pair model 1"


@dataclass(frozen=True)
class Term:
    """One summand: a table over the bins of one feature, or of two."""

    features: tuple[str, ...]
    table: Float64s


@dataclass(frozen=True)
class AdditiveModel:
    """`logit = intercept + Σ table[bin of feature(s)]`.

    Attributes:
        features: names of the columns that `logits` takes.
        edges: for each feature its ascending bin edges; a value above i of them is in bin i.
        terms: the summands.
        intercept: log-odds where every table is 0.
    """

    features: tuple[str, ...]
    edges: dict[str, Float64s]
    terms: tuple[Term, ...]
    intercept: float

    def logits(self, values: npt.NDArray[np.float32]) -> Float64s:
        """Features, shape (n, len(features)), to log-odds, shape (n,)."""
        bins = self._bins(values)
        total = np.full(len(values), self.intercept)
        for term in self.terms:
            total += term.table[tuple(bins[f] for f in term.features)]
        return total

    def contributions(self, values: npt.NDArray[np.float32]) -> dict[str, Float64s]:
        """Features to the summands of their log-odds, shape (n,) each, by the names of their features."""
        bins = self._bins(values)
        parts = {"intercept": np.full(len(values), self.intercept)}
        for term in self.terms:
            parts[" × ".join(term.features)] = term.table[tuple(bins[f] for f in term.features)]
        return parts

    def _bins(self, values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.int64]]:
        return {
            name: np.searchsorted(self.edges[name], values[:, i].astype(np.float64), side="left")
            for i, name in enumerate(self.features)
        }

    def to_json(self) -> str:
        """The model as JSON text, one term a line, so that people can read and compare it."""
        terms = ",\n  ".join(
            json.dumps({"features": t.features, "table": np.round(t.table, 4).tolist()}) for t in self.terms
        )
        edges = ",\n  ".join(
            f"{json.dumps(f)}: {json.dumps([_rounded(float(e)) for e in self.edges[f]])}"
            for f in self.features
        )
        head = f'"format": {json.dumps(FORMAT)},\n "intercept": {self.intercept:.5f}'
        return f'{{{head},\n "edges": {{\n  {edges}}},\n "terms": [\n  {terms}]\n}}\n'

    @classmethod
    def from_json(cls, text: str, source: str) -> AdditiveModel:
        """JSON text to the model; UsageError names `source` where it is no such model."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise UsageError(f"{source}: format is {data['format']!r}, this version reads {FORMAT!r}")
            edges = {name: np.array(e, np.float64) for name, e in data["edges"].items()}
            terms = tuple(Term(tuple(t["features"]), np.array(t["table"], np.float64)) for t in data["terms"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{source}: no pair model ({error}); make one with `affil train scorer`"
            ) from error
        for term in terms:
            if term.table.shape != tuple(len(edges[f]) + 1 for f in term.features if f in edges):
                raise UsageError(f"{source}: the table of {' × '.join(term.features)} does not fit its bins")
        return cls(tuple(edges), edges, terms, float(data["intercept"]))

    @classmethod
    def load(cls, path: str | None, expected: Sequence[str]) -> AdditiveModel:
        """The model of a file, or the shipped one for None; its features must be among those `expected`."""
        if path is None:
            resource = files("pipeline") / "models" / "pair_scorer" / "model.json"
            model = cls.from_json(resource.read_text(encoding="utf-8"), "the shipped pair model")
        else:
            if not Path(path).is_file():
                raise UsageError(f"no such pair model: {path}")
            model = cls.from_json(Path(path).read_text(encoding="utf-8"), path)
        unknown = [f for f in model.features if f not in expected]
        if unknown:
            raise UsageError(
                f"{path or 'the shipped pair model'}: unknown feature {unknown[0]!r}; refit the model"
            )
        return model


def _rounded(edge: float) -> float:
    """An edge with as few decimals, five or more, as leave every float32 value on its side of it."""
    below = _float32_below(edge)
    candidates = (round(edge, n) for n in range(5, 18))
    return next((e for e in candidates if _float32_below(e) == below), edge)


def _float32_below(number: float) -> float:
    """The largest float32 that is not above a number."""
    nearest = np.float32(number)
    return float(nearest if float(nearest) <= number else np.nextafter(nearest, np.float32(-np.inf)))
