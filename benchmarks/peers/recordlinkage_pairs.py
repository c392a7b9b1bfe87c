"""recordlinkage: q-gram similarity of candidate pairs, connected components of those above a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import recordlinkage
from protocol import components, run

#: Up to so many strings every pair is compared; beyond that its documentation wants an index.
_FULL = 5_000
#: Pairs compared at a time: its vectors of q-grams take some kilobytes a pair.
_PAIRS = 200_000


def cluster(strings: Sequence[str], _: Sequence[str], threshold: float, window: int) -> Iterable[int]:
    """Strings to components; above `_FULL` strings the pairs are those of a sorted neighbourhood."""
    frame = pd.DataFrame({"string": strings})
    index = recordlinkage.Index()
    if len(frame) <= _FULL:
        index.full()
    else:
        index.sortedneighbourhood("string", window=window)
    compare = recordlinkage.Compare(n_jobs=2)
    compare.string("string", "string", method="qgram", threshold=threshold, label="same")
    pairs = index.index(frame)
    left: list[int] = []
    right: list[int] = []
    for part in recordlinkage.index_split(pairs, max(1, len(pairs) // _PAIRS)):
        found = compare.compute(part, frame)
        same = found.index[found["same"] == 1]
        left += same.get_level_values(0).tolist()
        right += same.get_level_values(1).tolist()
    return components(len(frame), left, right)


if __name__ == "__main__":
    run(cluster, "recordlinkage")
