"""goldenmatch: one fuzzy column at a threshold, its own blocking and clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import goldenmatch
import polars
from protocol import run


def cluster(strings: Sequence[str], _: Sequence[str], threshold: float | None) -> Iterable[int]:
    """Strings to clusters; None lets it configure itself."""
    frame = polars.DataFrame({"affiliation": list(strings)})
    chosen = {} if threshold is None else {"fuzzy": {"affiliation": 1.0}, "threshold": threshold}
    result = goldenmatch.dedupe_df(frame, **chosen)
    found = list(range(-len(strings), 0))
    for number, one in enumerate(result.clusters.values()):
        for member in one["members"]:
            found[member] = number
    return found


if __name__ == "__main__":
    run(cluster, "goldenmatch")
