"""How the threshold and the weight of missing pairs were chosen: B³ F1 on the tune fold.

python benchmarks/threshold.py --data ../shared/data [--settings FILE]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pipeline

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
WEIGHTS = (1.0, 0.3, 0.1, 0.05, 0.02)


def main() -> None:
    """Print one line a weight, one column a threshold."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--settings", type=Path)
    given = options.parse_args()
    data, settings = given.data, pipeline.Settings.read(given.settings) if given.settings else None
    gold = pipeline.read_gold(data / "labelled" / "shared_clusters.tsv", "affiliation", "cluster", "tune")
    result = pipeline.resolve(gold.affiliation, settings)
    print("B3 F1 on the tune fold by threshold (columns) and weight of a missing pair (lines)")
    print("weight  " + "  ".join(f"{t:6.2f}" for t in THRESHOLDS))
    for weight in WEIGHTS:
        settings = result.settings.with_values(clustering={"missing_pair_weight": weight})
        runs = (replace(result, settings=settings).rethreshold(t) for t in THRESHOLDS)
        values = [pipeline.evaluate(run.mentions, gold, n_bootstrap=0).value("b3_f1") or 0.0 for run in runs]
        print(f"{weight:6.2f}  " + "  ".join(f"{v:6.4f}" for v in values))


if __name__ == "__main__":
    main()
