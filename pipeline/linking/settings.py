"""What a caller can choose about linking to a registry."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UsageError

GRANULARITIES = ("institution", "parent")


@dataclass(frozen=True)
class LinkingSettings:
    """How institutions get ids of a registry.

    Attributes:
        registry: file of `affil registry import`; None links nothing.
        model: folder of `affil train linker`; None takes the shipped one.
        n_candidates: names that each text of a mention looks for, in both of its views.
        min_link_probability: an id of less is not given: the answer is none. Chosen on the tune fold: F1 of
            links, of sets of institutions and B³ of clusters are all nearly greatest there.
        min_conflict_probability: two mentions with different ids that are both at least this probable, and
            not related, are never one institution; 1 turns that off.
        granularity: "institution": the record that is named; "parent": the organisation that it is a part of.
    """

    registry: str | None = None
    model: str | None = None
    n_candidates: int = 10
    min_link_probability: float = 0.55
    min_conflict_probability: float = 0.9
    granularity: str = "institution"

    def __post_init__(self) -> None:
        if self.n_candidates < 1:
            raise UsageError(f"linking.n_candidates must be 1 or more, got {self.n_candidates}")
        for name in ("min_link_probability", "min_conflict_probability"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"linking.{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.granularity not in GRANULARITIES:
            raise UsageError(
                f"linking.granularity must be one of {', '.join(GRANULARITIES)}, got {self.granularity!r}"
            )
