"""dedupe: active learning with a person who is always right, then its blocking, scoring and clustering."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import dedupe
import numpy as np
from protocol import run


def cluster(strings: Sequence[str], labels: Sequence[str], threshold: float, n_labels: int) -> Iterable[int]:
    """Strings to clusters; `labels` answer the `n_labels` pairs that it asks about."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what the library draws from
    data = {number: {"string": string, "number": str(number)} for number, string in enumerate(strings)}
    deduper = dedupe.Dedupe([dedupe.variables.String("string"), dedupe.variables.Text("string")])
    deduper.prepare_training(data)
    for _ in range(n_labels):
        pairs = deduper.uncertain_pairs()
        if not pairs:
            break
        one, other = pairs[0]
        is_same = labels[int(one["number"])] == labels[int(other["number"])]
        answers = {"match": [pairs[0]] if is_same else [], "distinct": [] if is_same else [pairs[0]]}
        deduper.mark_pairs(answers)
    deduper.train()
    deduper.cleanup_training()
    found = [-1] * len(strings)
    for number, (members, _) in enumerate(deduper.partition(data, threshold)):
        for member in members:
            found[member] = number
    return found


if __name__ == "__main__":
    run(cluster, "dedupe")
