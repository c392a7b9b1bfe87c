"""What the built-in reranker gives and costs on labelled strings; needs the labelled data.

    python benchmarks/rescoring.py --data ../shared/data [--fold tune] [--reranker FOLDER] [--save FILE]

The fold `tune` is what the reranker's training was stopped by and what its combination with the feature model
and the band were chosen on, so its figures are tuned on. Intervals are of the gain, over gold clusters, from
the same draws for both runs. B³ by labelled set, country and script is without, and with the reranker's band.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from groups import grouped
from quality import by_group, set_of

import pipeline
from pipeline.calibration import calibrate
from pipeline.evaluation import Gold, reliability
from pipeline.evaluation.alignment import align
from pipeline.evaluation.bootstrap import interval, resample, sum_by_cluster
from pipeline.evaluation.metrics import addends, measures, overlap
from pipeline.evaluation.ranking import ranking_quality
from pipeline.records import Matches
from pipeline.resolution import Models, Resolution
from pipeline.scoring import PairFeatures, fit_vocabulary
from pipeline.scoring.score import doubtful

BANDS = ((0.0, 1.0), (0.005, 0.99), (0.01, 0.99), (0.02, 0.98), (0.05, 0.95), (0.1, 0.9), (0.2, 0.8))
N_SAMPLES = 1000
#: Different institutions whose names are one in another order.
NAMESAKES = (
    ("University of York, York, UK", "York University, Toronto, Canada"),
    ("Newcastle University, UK", "University of Newcastle, Australia"),
    ("University of Miami, Coral Gables, FL, USA", "Miami University, Oxford, OH, USA"),
)


def with_rescored(result: Resolution, rescored: np.ndarray) -> Resolution:
    """A run with other rescored logits, calibrated and clustered again."""
    scored = replace(result.matches.pairs, rescored=rescored)
    matches = calibrate(scored, result.settings.calibration)
    return replace(result, matches=matches).rethreshold(result.settings.clustering.min_match_probability)


def pair_figures(matches: Matches, labels: np.ndarray, is_main: np.ndarray) -> dict[str, float]:
    """How well probabilities order pairs of main mentions, all together and the candidates of each."""
    pairs = matches.pairs
    known = is_main[pairs.left] & is_main[pairs.right]
    left, right, score = pairs.left[known], pairs.right[known], matches.probability[known]
    is_match = labels[left] == labels[right]
    ranked, judged = ranking_quality(left, right, score, is_match), reliability(score, is_match)
    assert judged is not None
    return {
        "average_precision": judged.average_precision or 0.0,
        "map": ranked.mean_average_precision,
        "mrr_at_10": ranked.reciprocal_rank,
        "ndcg_at_10": ranked.discounted_gain,
        "log_loss": judged.log_loss,
    }


def sums(result: Resolution, gold: Gold) -> dict[str, np.ndarray]:
    """What each gold cluster adds to the sums that the measures divide."""
    truth = gold.memberships()
    columns = addends(overlap(align(result.mentions, gold).predicted, truth))
    return sum_by_cluster(columns, truth)


def cluster_figures(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Pairwise and B³ F1 of a run."""
    values = measures({name: np.asarray(column.sum()) for name, column in found.items()})
    return {name: float(values[name]) for name in ("pair_f1", "b3_f1")}


def gains(without: dict[str, np.ndarray], having: dict[str, np.ndarray]) -> dict[str, Any]:
    """The gain in both, with 95 % intervals from the same draws of clusters."""
    drawn = [measures(resample(found, N_SAMPLES)) for found in (without, having)]
    before, after = cluster_figures(without), cluster_figures(having)
    return {
        name: {
            "gain": round(after[name] - before[name], 4),
            "interval": [round(x, 4) for x in interval(drawn[1][name] - drawn[0][name]) if x is not None],
        }
        for name in before
    }


def measure(data: Path, fold: str, reranker: str) -> dict[str, Any]:
    """Without, and with each band."""
    gold = pipeline.read_gold(data / "labelled" / "shared_clusters.tsv", "affiliation", "cluster", fold)
    settings = pipeline.Settings().with_values(scoring={"reranker": reranker})
    rescorer = Models.load(settings).rescorer
    assert rescorer is not None
    begin = time.perf_counter()
    plain = pipeline.resolve(gold.affiliation, settings.with_values(scoring={"reranker": "none"}))
    seconds = time.perf_counter() - begin
    pairs, forms = plain.matches.pairs, plain.forms
    features = PairFeatures(forms, fit_vocabulary(forms))
    # Made on first use, and by scoring before: not the reranker's cost.
    features.of(pairs.left[:1], pairs.right[:1])
    label_of = dict(zip(gold.affiliation, gold.labels, strict=True))
    raw = plain.parsed.affiliations.affiliation
    number = {label: n for n, label in enumerate(sorted(set(gold.labels)))}
    labels = np.array([number[label_of[raw[i]]] for i in plain.parsed.affiliation.tolist()])
    before, groups = sums(plain, gold), grouped(plain.parsed, forms, set_of(data))
    found: dict[str, Any] = {
        "fold": fold,
        "band": rescorer.band,
        "n_strings": len(gold),
        "n_pairs": len(pairs),
        "seconds": round(seconds, 2),
        "without": pair_figures(plain.matches, labels, forms.is_main) | cluster_figures(before),
        "bands": [],
        "groups": {"without": by_group(plain, gold, groups)},
    }
    plain = replace(
        plain,
        settings=settings,
        matches=replace(plain.matches, pairs=replace(pairs, combination=rescorer.combination)),
    )
    for band in BANDS:
        chosen = doubtful(pairs.logit, replace(settings.scoring, rescoring_band=band))
        rescored = np.full(len(pairs), np.nan)
        begin = time.perf_counter()
        rescored[chosen] = rescorer.rescore(features, pairs.left[chosen], pairs.right[chosen])
        seconds = time.perf_counter() - begin
        run = with_rescored(plain, rescored)
        after = sums(run, gold)
        found["bands"].append(
            {"band": band, "n_pairs": len(chosen), "seconds": round(seconds, 2)}
            | {"pairs_per_second": round(len(chosen) / seconds)}
            | pair_figures(run.matches, labels, forms.is_main)
            | cluster_figures(after)
            | {"gains": gains(before, after)}
        )
        if band == rescorer.band:
            found["groups"]["with"] = by_group(run, gold, groups)
    return found


def namesakes(reranker: str) -> list[dict[str, Any]]:
    """Match probabilities of namesakes without and with the reranker; each is two institutions."""
    left, right = ([pair[side] for pair in NAMESAKES] for side in (0, 1))
    both = [
        pipeline.affiliation_similarity(
            left, right, pipeline.Settings().with_values(scoring={"reranker": name})
        ).round(2)
        for name in ("none", reranker)
    ]
    rows = zip(NAMESAKES, both[0].tolist(), both[1].tolist(), strict=True)
    return [{"pair": pair, "without": before, "with": after} for pair, before, after in rows]


def print_table(found: dict[str, Any]) -> None:
    """One line a band."""
    tuned = " (tuned on)" if found["fold"] == "tune" else ""
    print(f"fold {found['fold']}{tuned}: {found['n_strings']:,} strings, {found['n_pairs']:,} pairs")
    print(f"resolved without in {found['seconds']:.1f} s")
    names = ("average_precision", "map", "mrr_at_10", "ndcg_at_10", "log_loss", "pair_f1", "b3_f1")
    heads = ("AP", "MAP", "MRR@10", "NDCG@10", "log loss", "pair F1", "B3 F1")
    print(f"{'band':14}{'pairs':>8}{'seconds':>9}{'pairs/s':>9}" + "".join(f"{h:>10}" for h in heads))
    print(f"{'none':14}{0:>8}{'':>18}" + "".join(f"{found['without'][n]:10.4f}" for n in names))
    for row in found["bands"]:
        low, high = row["band"]
        name = "all" if (low, high) == (0, 1) else f"{low} – {high}"
        print(
            f"{name:14}{row['n_pairs']:>8}{row['seconds']:>9.1f}{row['pairs_per_second']:>9,}"
            + "".join(f"{row[n]:10.4f}" for n in names)
        )
        for label, key in (("pair F1", "pair_f1"), ("B3 F1", "b3_f1")):
            gain = row["gains"][key]
            low, high = gain["interval"]
            a_second = gain["gain"] / max(row["seconds"], 0.01)
            print(f"{'':14}{label} {gain['gain']:+.4f} ({low:+.4f} … {high:+.4f}), {a_second:+.4f} a second")
    for name, row in found["groups"]["without"].items():
        having = found["groups"]["with"][name]["b3_f1"]
        print(f"{name:32} {row['n']:6,} strings, B³ F1 {row['b3_f1']:.4f} without, {having:.4f} with")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--fold", choices=("tune", "test"), default="tune")
    options.add_argument("--reranker", default="built-in")
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    found = measure(given.data, given.fold, given.reranker)
    found["namesakes"] = namesakes(given.reranker)
    print_table(found)
    for row in found["namesakes"]:
        print(f"{' | '.join(row['pair'])}: {row['without']} without, {row['with']} with")
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
