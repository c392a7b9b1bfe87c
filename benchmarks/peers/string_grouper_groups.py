"""string_grouper: `group_similar_strings`, TF-IDF of character 3-grams, groups around centroids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from protocol import run
from string_grouper import group_similar_strings


def cluster(strings: Sequence[str], _: Sequence[str], min_similarity: float) -> Iterable[int]:
    """Strings to the id of the string that stands for their group."""
    found = group_similar_strings(
        pd.Series(strings), string_ids=pd.Series(range(len(strings))), min_similarity=min_similarity
    )
    return found["group_rep_id"].tolist()


if __name__ == "__main__":
    run(cluster, "string-grouper")
