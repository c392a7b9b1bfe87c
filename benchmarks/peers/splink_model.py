"""splink: columns made from the string (its rare words, its first and last part), a Fellegi–Sunter model.

Its README says that it is not designed for a single column of words; this is the best that its documentation
offers for one: arrays of rare words to block and compare by, term frequencies, expectation maximisation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import splink.comparison_library as cl
from protocol import run
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

#: Rare words of a string that are kept.
_WORDS = 3


def cluster(strings: Sequence[str], _: Sequence[str], threshold: float) -> Iterable[object]:
    """Strings to clusters of the pairs whose match probability is at least `threshold`."""
    by_word = block_on("words", arrays_to_explode=["words"])
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            cl.JaroWinklerAtThresholds("first", [0.95, 0.88, 0.75]),
            cl.ArrayIntersectAtSizes("words", [3, 2, 1]),
            cl.ExactMatch("last").configure(term_frequency_adjustments=True),
        ],
        blocking_rules_to_generate_predictions=[by_word],
    )
    api = DuckDBAPI()
    linker = Linker(api.register(columns(strings)), settings, log_level="ERROR")
    linker.training.estimate_probability_two_random_records_match([block_on("first", "last")], recall=0.3)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=0)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("last"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("rarest"))
    pairs = linker.inference.predict(threshold_match_probability=threshold)
    clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(pairs, threshold)
    rows = clusters.as_duckdbpyrelation().project("unique_id, cluster_id").fetchall()
    found = dict(rows)
    return [found[number] for number in range(len(strings))]


def columns(strings: Sequence[str]) -> pa.Table:
    """Strings to the columns of the model."""
    words = [list(dict.fromkeys(re.findall(r"\w+", string.lower()))) for string in strings]
    frequency = Counter(word for found in words for word in found)
    rare = [
        sorted(sorted((w for w in found if frequency[w] > 1), key=lambda w: (frequency[w], w))[:_WORDS])
        for found in words
    ]
    parts = [
        [part.strip().lower() for part in string.split(",") if part.strip()] or [""] for string in strings
    ]
    return pa.table(
        {
            "unique_id": range(len(strings)),
            "first": [found[0] for found in parts],
            "last": [found[-1] for found in parts],
            "words": rare,
            "rarest": [min(found, key=lambda w: (frequency[w], w), default="") for found in rare],
        }
    )


if __name__ == "__main__":
    run(cluster, "splink")
