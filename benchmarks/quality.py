"""Quality of the defaults on labelled strings, beside what each stage gives; needs the labelled data.

    python benchmarks/quality.py --data ../shared/data [--save FILE] [--only leipzig]

`leipzig` is a public benchmark (University of Leipzig, 2,260 strings) that nothing was trained or tuned on.
The test fold holds organisations that training has not seen; the tune fold is what the threshold and the
calibration were fitted on, and is printed for completeness.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from groups import grouped

import pipeline
from blocking.engine import slices
from pipeline.calibration import calibrate
from pipeline.clustering import Constraints, mates
from pipeline.evaluation import Gold
from pipeline.records import Matches
from pipeline.resolution import Resolution
from pipeline.scoring import NAMES, PairFeatures, fit_vocabulary, two_records

#: Runs with figures by group; both have the groups of the first.
GROUPED = (OURS, NO_NAMES) = ("affiliation-resolver, all defaults", "no known names")
MEASURES = ("pair_precision", "pair_recall", "pair_f1", "b3_precision", "b3_recall", "b3_f1")


def leipzig(data: Path) -> Gold:
    """String to cluster, from the benchmark's JSONL."""
    return pipeline.read_gold(data / "labelled" / "leipzig.jsonl", "string", "labels")


def fold(data: Path, name: str) -> Gold:
    """String to ROR id of one fold of the union of the single-label sets."""
    return pipeline.read_gold(data / "labelled" / "shared_clusters.tsv", "affiliation", "cluster", name)


def set_of(data: Path) -> dict[str, str]:
    """The strings of all folds of the union, with the set that each is of."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        return {row["affiliation"]: row["source"] for row in csv.DictReader(lines, delimiter="\t")}


def measured(result: Resolution, gold: Gold, n_bootstrap: int = 0) -> dict[str, Any]:
    """A run held against gold: the measures, the loss of blocking, calibration."""
    found = pipeline.evaluate(result.mentions, gold, pairs=result.pairs, n_bootstrap=n_bootstrap)
    values: dict[str, Any] = {name: round(found.value(name) or 0.0, 4) for name in MEASURES}
    if n_bootstrap:
        values["intervals"] = {m.name: [m.low, m.high] for m in found.measures if m.low is not None}
        values["b3_recall_by_gold_size"] = found.to_dict()["b3_recall_by_gold_size"]
    if found.calibration:
        values["average_precision"] = round(found.calibration.average_precision or 0.0, 4)
        values["calibration_error"] = round(found.calibration.expected_calibration_error, 4)
    if found.blocking:
        values["pair_completeness"] = round(found.blocking.pair_completeness or 0.0, 4)
        values["b3_recall_ceiling"] = round(found.blocking.b3_recall_ceiling, 4)
    return values


#: The defaults with one stage switched off, or with another model in its place.
SWITCHED: dict[str, dict[str, dict[str, Any]]] = {
    NO_NAMES: {"normalization": {"known_names": "none"}},
    "probabilities not adapted to the corpus": {"calibration": {"adapt_to_corpus": False}},
    "parser: rules alone, no trained tagger": {"parsing": {"model": "rules"}},
    "parser: one organisation a string": {"parsing": {"split_organizations": False}},
    "no key rules: neighbours alone propose": {
        "normalization": {
            "use_same_form": False,
            "use_acronym_place": False,
            "use_transliteration": False,
            "use_known_name": False,
        }
    },
    "trained encoder instead of the hashing one": {"blocking": {"encoder": "built-in"}},
    "no second blocking pass": {"blocking": {"n_group_neighbours": 0}},
}


def switched(gold: Gold) -> Iterator[tuple[str, Resolution]]:
    """Runs of the same strings with other settings."""
    for label, values in SWITCHED.items():
        yield label, pipeline.resolve(gold.affiliation, pipeline.Settings().with_values(**values))


def with_two_records_as_others(result: Resolution) -> Resolution:
    """The run without what speaks against pairs that are known as two records."""
    scored = result.matches.pairs
    features = PairFeatures(result.forms, fit_vocabulary(result.forms))
    parts = slices(len(scored), 200_000)
    added = [two_records(features.of(scored.left[part], scored.right[part]), NAMES) for part in parts]
    scored = replace(scored, logit=scored.logit - np.concatenate(added))
    changed = replace(result, matches=calibrate(scored, result.settings.calibration))
    return changed.rethreshold(result.settings.clustering.min_match_probability)


def variants(result: Resolution) -> Iterator[tuple[str, Resolution]]:
    """The run with another stage in place of its own, from the same scored pairs."""
    for name in ("components", "hdbscan"):
        changed = replace(result, settings=result.settings.with_values(clustering={"clusterer": name}))
        yield (
            f"{name} instead of average linkage",
            changed.rethreshold(changed.settings.clustering.min_match_probability),
        )
    scored = result.matches.pairs
    yield "names known as two count as others do", with_two_records_as_others(result)
    # The cosine alone, as a probability: its best cut is not known, so the usual .6 of TF-IDF is taken.
    cosine = replace(result, matches=Matches(scored, np.clip(scored.similarity, 0, 1).astype(np.float64)))
    yield "similarity of blocking alone, average linkage at .6", cosine.rethreshold(0.6)
    uncalibrated = replace(result, matches=Matches(scored, 1 / (1 + np.exp(-scored.logit))))
    yield "no calibration", uncalibrated.rethreshold(result.settings.clustering.min_match_probability)
    none = np.empty(0, np.int64)
    apart = replace(result, constraints=Constraints(none, none, *mates(result.parsed.affiliation)))
    yield (
        "mentions of one string never join",
        apart.rethreshold(result.settings.clustering.min_match_probability),
    )
    full = replace(
        result,
        settings=result.settings.with_values(
            clustering={"missing_pair_weight": 1.0, "missing_pairs_per_item": 0}
        ),
    )
    yield "missing pairs count in full", full.rethreshold(result.settings.clustering.min_match_probability)


def by_group(result: Resolution, gold: Gold, groups: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """B³ of the strings of each group; all strings resolved."""
    label = dict(zip(gold.affiliation, (labels[0] for labels in gold.labels), strict=True))
    frame = result.mentions[result.mentions["role"] == "main"]
    frame = frame[frame["affiliation"].isin(list(label))].set_index("affiliation")
    frame["gold"] = frame.index.map(label)

    def sizes(*columns: str) -> Any:
        return frame.groupby(list(columns))["role"].transform("size")

    precision = sizes("gold", "entity_id") / sizes("entity_id")
    recall = sizes("gold", "entity_id") / sizes("gold")
    found = {}
    for name, strings in groups.items():
        p, r = float(precision[strings].mean()), float(recall[strings].mean())
        measures = {"b3_precision": p, "b3_recall": r, "b3_f1": 2 * p * r / (p + r)}
        found[name] = {"n": len(strings)} | {m: round(v, 4) for m, v in measures.items()}
    return found


def peer(strings: list[str], threshold: float = 0.6) -> dict[str, str]:
    """TF-IDF of character 2–4-grams and average linkage at a fixed cosine distance: the best general peer."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit_transform(
        strings
    )
    distance = np.clip(1 - (vectors @ vectors.T).toarray(), 0, None)
    np.fill_diagonal(distance, 0)
    label = fcluster(linkage(squareform(distance, checks=False), "average"), threshold, "distance")
    return dict(zip(strings, map(str, label), strict=True))


def peer_measured(gold: Gold) -> dict[str, Any]:
    """The peer held against gold."""
    import pandas as pd

    entity = peer(gold.affiliation)
    frame = pd.DataFrame({"affiliation": list(entity), "entity_id": list(entity.values()), "role": "main"})
    found = pipeline.evaluate(frame, gold, n_bootstrap=0)
    return {name: round(found.value(name) or 0.0, 4) for name in MEASURES}


def main() -> None:
    """Run every set and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--save", type=Path)
    options.add_argument("--only", action="append", choices=("leipzig", "test", "test-in-all", "tune"))
    given = options.parse_args()
    sets = {
        "leipzig": lambda: (leipzig(given.data), None),
        "test": lambda: (fold(given.data, "test"), None),
        "test-in-all": lambda: (fold(given.data, "test"), list(set_of(given.data))),
        "tune": lambda: (fold(given.data, "tune"), None),
    }
    results: dict[str, Any] = {}
    for name in given.only or sets:
        gold, strings = sets[name]()
        begin = time.perf_counter()
        result = pipeline.resolve(strings or gold.affiliation)
        seconds = time.perf_counter() - begin
        others = () if name == "test-in-all" else chain(switched(gold), variants(result))
        groups = grouped(result.parsed, result.forms, set_of(given.data)) if name in ("test", "tune") else {}
        rows, told = {}, {}
        for label, run in chain([(OURS, result)], others):
            rows[label] = measured(run, gold, n_bootstrap=200 if run is result else 0)
            if groups and label in GROUPED:
                told[label] = by_group(run, gold, groups)
        if name != "test-in-all":
            rows["TF-IDF + average linkage (peer)"] = peer_measured(gold)
        results[name] = {"n_strings": len(gold), "n_resolved": len(strings or gold.affiliation), "rows": rows}
        if told:
            results[name]["groups"] = told
        print_set(name, results[name], seconds)
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def print_set(name: str, found: dict[str, Any], seconds: float) -> None:
    """One set as a table."""
    print(
        f"\n{name}: {found['n_strings']:,} gold strings, {found['n_resolved']:,} resolved in {seconds:.1f} s"
    )
    print(f"{'':52} pair P   pair R  pair F1     B3 P     B3 R    B3 F1  completeness")
    for label, row in found["rows"].items():
        figures = "  ".join(f"{row[m]:7.4f}" for m in MEASURES)
        print(f"{label:52}{figures}  {row.get('pair_completeness', '')}")
    first = next(iter(found["rows"].values()))
    bands = first["b3_recall_by_gold_size"].items()
    sizes = ", ".join(f"{k}: {v['value']:.3f} ({v['n_strings']})" for k, v in bands)
    print(f"B3 recall by gold size: {sizes}")
    for label, groups in found.get("groups", {}).items():
        for group, row in groups.items():
            print(f"{group:30} {row['n']:6,} strings, B3 F1 {row['b3_f1']:.4f}, {label}")
    print(
        f"pairs: average precision {first['average_precision']},"
        f" calibration error {first['calibration_error']},"
        f" B3 recall ceiling of blocking {first['b3_recall_ceiling']}"
    )


if __name__ == "__main__":
    main()
