"""What goes wrong, by kind: labelled strings of the train fold that neither scorer nor calibration has seen.

    python benchmarks/errors.py --data ../shared/data [--write docs/errors.md]

A fifth of the train fold's organisations is left out, a scorer is fitted on the others and calibrated on the
tune fold, and the strings left out are resolved with it, everything else by default. Two labels in one
cluster, and two clusters of one label, are one error however many strings they have; its kind is the first
that holds for the most telling pair of strings. Of the test fold and of `leipzig` nothing is looked at.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pipeline
from pipeline.resolution import Resolution
from pipeline.scoring import NAMES, PairFeatures, fit_vocabulary
from pipeline.training.labels import is_held_out
from pipeline.training.scorer import train_scorer

#: Strings of a cluster or label that are compared with those of another.
_COMPARED = 12
_EXAMPLES = 2


class Error(NamedTuple):
    """Two sets of strings wrongly joined or parted: the mentions that tell most, and their features."""

    left: int
    right: int
    n_pairs: int
    feature: dict[str, float]
    was_compared: bool


Kinds = dict[str, Callable[[Error], bool]]
MERGES: Kinds = {
    "the same name in the same or an unknown place: labels disagree, or campuses": lambda e: (
        e.feature["same_organization"] == 1 and e.feature["city"] >= 0
    ),
    "the same name in two cities: campuses, branches, namesakes": lambda e: (
        e.feature["same_organization"] == 1
    ),
    "numbers differ (First / Third Hospital)": lambda e: e.feature["numbers"] == -1,
    "names differ in a modifier alone (of Florida / of South Florida, of Technology)": lambda e: (
        e.feature["only_modifiers_differ"] > 0
    ),
    "of two kinds (university / its hospital, school, institute)": lambda e: e.feature["same_class"] == -1,
    "an acronym that both share": lambda e: e.feature["acronym"] == 1,
    "a string without an organisation": lambda e: e.feature["n_with_organization"] < 2,
    "one name holds the other": lambda e: e.feature["organization_containment"] > 0.99,
    "other names that share words": lambda e: e.feature["organization_shared"] > 0,
    "no word shared: joined through others": lambda e: True,
}
SPLITS: Kinds = {
    "never compared": lambda e: not e.was_compared,
    "the same name in two cities": lambda e: e.feature["same_organization"] == 1 and e.feature["city"] == -1,
    "the same name": lambda e: e.feature["same_organization"] == 1,
    "a string without an organisation": lambda e: e.feature["n_with_organization"] < 2,
    "an acronym and its name": lambda e: e.feature["acronym"] == 1,
    "of two kinds (university / its hospital, school, institute)": lambda e: e.feature["same_class"] == -1,
    "one name holds the other": lambda e: e.feature["organization_containment"] > 0.99,
    "spellings, inflections": lambda e: e.feature["organization_ratio"] > 0.8,
    "other names that share words": lambda e: e.feature["organization_shared"] > 0,
    "no word shared: translations, former names, units that carry another name": lambda e: True,
}


def resolved(data: Path) -> tuple[Resolution, dict[str, str]]:
    """The strings left out, resolved by a scorer that was fitted on the others; and their labels."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        rows = [r for r in csv.DictReader(lines, delimiter="\t") if r["fold"] in ("train", "tune")]
    left_out = [r["fold"] == "train" and is_held_out(r["cluster"]) for r in rows]
    with tempfile.TemporaryDirectory() as folder:
        labels, scorer = Path(folder) / "labels.tsv", Path(folder) / "scorer"
        with labels.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, delimiter="\t")
            out.writerow(("affiliation", "cluster", "fold"))
            out.writerows(
                (r["affiliation"], r["cluster"], r["fold"])
                for r, is_out in zip(rows, left_out, strict=True)
                if not is_out
            )
        for line in train_scorer(labels, scorer):
            print(line)
        label = {r["affiliation"]: r["cluster"] for r, is_out in zip(rows, left_out, strict=True) if is_out}
        settings = pipeline.Settings().with_values(
            scoring={"model": str(scorer / "model.json")},
            calibration={"file": str(scorer / "calibration.json")},
        )
        return pipeline.resolve(sorted(label), settings), label


def errors(result: Resolution, label_of: dict[str, str]) -> tuple[list[Error], list[Error]]:
    """False merges and false splits of a run."""
    raw = result.parsed.affiliations.affiliation
    mains = np.flatnonzero(result.forms.is_main).tolist()
    label = {m: label_of[raw[result.parsed.affiliation[m]]] for m in mains}
    cluster = {m: int(result.clusters.label[m]) for m in mains}
    features = PairFeatures(result.forms, fit_vocabulary(result.forms))
    pairs = result.matches.pairs
    probability = dict(
        zip(
            zip(pairs.left.tolist(), pairs.right.tolist(), strict=True),
            result.matches.probability.tolist(),
            strict=True,
        )
    )

    def found(within: dict[int, object], between: dict[int, object]) -> Iterator[Error]:
        groups: dict[object, dict[object, list[int]]] = defaultdict(lambda: defaultdict(list))
        for m in mains:
            groups[within[m]][between[m]].append(m)
        for parts in groups.values():
            for a, b in combinations(parts.values(), 2):
                some = [(min(x, y), max(x, y)) for x in a[:_COMPARED] for y in b[:_COMPARED]]
                best = max(some, key=lambda pair: probability.get(pair, -1.0))
                values = features.of(np.array([best[0]]), np.array([best[1]]))[0].tolist()
                named = dict(zip(NAMES, values, strict=True))
                yield Error(*best, len(a) * len(b), named, best in probability)

    return list(found(cluster, label)), list(found(label, cluster))


def table(title: str, kinds: Kinds, found: list[Error], result: Resolution) -> str:
    """Errors by kind as Markdown: how many, how many pairs of strings, examples."""
    kind_of = [next(kind for kind, holds in kinds.items() if holds(e)) for e in found]
    n_errors, n_pairs = Counter(kind_of), Counter[str]()
    examples: dict[str, list[Error]] = defaultdict(list)
    for kind, error in sorted(zip(kind_of, found, strict=True), key=lambda x: -x[1].n_pairs):
        n_pairs[kind] += error.n_pairs
        examples[kind].append(error)
    lines = [f"## {title}", "", "| kind | errors | pairs of strings | examples |", "|---|---|---|---|"]
    for kind, n in n_errors.most_common():
        shown = "<br>".join(_shown(e, result) for e in examples[kind][:_EXAMPLES])
        lines.append(f"| {kind} | {n:,} | {n_pairs[kind]:,} | {shown} |")
    total = f"| all | {len(found):,} | {sum(e.n_pairs for e in found):,} | |"
    return "\n".join([*lines, total, ""])


def _shown(error: Error, result: Resolution) -> str:
    names = [
        " ".join(result.forms.display[m].split()) or result.forms.context[m]
        for m in (error.left, error.right)
    ]
    places = [result.forms.city[m] or result.forms.country_code[m] or "?" for m in (error.left, error.right)]
    return " / ".join(f"*{n[:60]}* ({p})" for n, p in zip(names, places, strict=True)).replace("|", "\\|")


def main() -> None:
    """Print both tables, or write them."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    result, label = resolved(given.data)
    merges, splits = errors(result, label)
    head = (
        "# What goes wrong\n\n"
        f"Written by `benchmarks/errors.py`: {len(label):,} strings of {len(set(label.values())):,}"
        " organisations of the train fold, which the pair scorer of this table has not seen. Two labels"
        " in one cluster, and two clusters of one label, are one error, however many strings they have.\n"
    )
    text = "\n".join(
        [
            head,
            table("False merges: two labels in one cluster", MERGES, merges, result),
            table("False splits: two clusters of one label", SPLITS, splits, result),
        ]
    )
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
