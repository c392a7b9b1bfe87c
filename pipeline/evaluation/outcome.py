"""What an evaluation found: measures with their intervals, calibration, the loss of blocking, warnings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pipeline.evaluation.blocking_loss import BlockingLoss
from pipeline.evaluation.metrics import BANDS
from pipeline.evaluation.reliability import Reliability

BAND_PREFIX = "b3_recall "
TITLES = {
    "b3_precision": "B³ precision",
    "b3_recall": "B³ recall",
    "b3_f1": "B³ F1",
    "pair_precision": "pairwise precision",
    "pair_recall": "pairwise recall",
    "pair_f1": "pairwise F1",
    "cluster_exact_rate": "gold clusters reproduced exactly",
    "adjusted_rand_index": "adjusted Rand index",
    "entity_precision": "entity-set precision",
    "entity_recall": "entity-set recall",
    **{f"{BAND_PREFIX}{band}": f"B³ recall, gold clusters of {band}" for band in BANDS},
}


@dataclass(frozen=True)
class Measure:
    """One measure in 0..1 (the Rand index may fall below) and its 95 % interval, None where there is none."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


class TableRow(NamedTuple):
    """One line for people: a count (int) or a measure, with its interval where it has one."""

    name: str
    value: int | float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """A run held against gold.

    `n_missing` gold strings were not in the run and count as singletons of their own; `n_with_several` were
    given more than one entity. `is_partition` tells whether both sides have one entity a string; only then is
    there an adjusted Rand index. `n_strings_by_size` counts the strings behind each `b3_recall <band>`.
    """

    n_strings: int
    n_missing: int
    n_with_several: int
    n_predicted_clusters: int
    n_gold_clusters: int
    is_partition: bool
    measures: tuple[Measure, ...]
    n_strings_by_size: dict[str, int]
    calibration: Reliability | None = None
    blocking: BlockingLoss | None = None
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> float | None:
        """The value of the measure called `name` (such as `b3_f1`), None where it was not applicable."""
        return next((m.value for m in self.measures if m.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; no NaN among them."""
        bands = {m.name.removeprefix(BAND_PREFIX): m for m in self.measures if m.name.startswith(BAND_PREFIX)}
        return {
            "n_strings": self.n_strings,
            "n_missing": self.n_missing,
            "n_with_several": self.n_with_several,
            "n_predicted_clusters": self.n_predicted_clusters,
            "n_gold_clusters": self.n_gold_clusters,
            "is_partition": self.is_partition,
            "measures": {m.name: _plain(m) for m in self.measures if not m.name.startswith(BAND_PREFIX)},
            "b3_recall_by_gold_size": {
                band: {"n_strings": self.n_strings_by_size[band], **_plain(m)} for band, m in bands.items()
            },
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "blocking": self.blocking.to_dict() if self.blocking else None,
            "warnings": list(self.warnings),
        }

    def table(self) -> list[TableRow]:
        """Lines (name, value, low, high) for people: counts first, then measures, calibration, blocking."""
        rows = [
            TableRow("gold strings", self.n_strings),
            TableRow("not in the run", self.n_missing),
            TableRow("strings with several entities", self.n_with_several),
            TableRow("predicted clusters", self.n_predicted_clusters),
            TableRow("gold clusters", self.n_gold_clusters),
        ]
        rows += [TableRow(TITLES[m.name], m.value, m.low, m.high) for m in self.measures]
        if self.calibration:
            c = self.calibration
            rows += [
                TableRow("scored pairs in gold", c.n_pairs),
                TableRow("expected calibration error", c.expected_calibration_error),
                TableRow("Brier", c.brier),
                TableRow("log loss", c.log_loss),
            ]
            if c.average_precision is not None:
                rows.append(TableRow("average precision of pairs", c.average_precision))
        if self.blocking:
            if self.blocking.pair_completeness is not None:
                rows.append(TableRow("pair completeness of blocking", self.blocking.pair_completeness))
            rows.append(TableRow("B³ recall ceiling after blocking", self.blocking.b3_recall_ceiling))
        return rows


def _plain(measure: Measure) -> dict[str, float | None]:
    found = asdict(measure)
    del found["name"]
    return found
