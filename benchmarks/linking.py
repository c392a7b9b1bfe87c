"""Quality of linking to a registry: precision, recall and F1 on sets of ids; needs the labelled data.

    affil registry import ../shared/data/registry/ror_records_partial.jsonl.gz --output ror.parquet
    python benchmarks/linking.py --data ../shared/data --registry ror.parquet --fold tune

Ids are those that the registry holds, closed records by the record that stands for them. A string of a set
with one label each is scored on its main organisation, one of the other sets on all. `held` are the strings
whose labels the registry holds all: the others ask for what is not there, and have near misses that are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from groups import grouped

import pipeline
from pipeline.linking import LinkingSettings, Links, RegistryFacts, are_conflicting, link, registry_facts
from pipeline.linking.names import name_forms
from pipeline.preparation import prepare
from pipeline.records import MAIN, Mentions
from pipeline.registry import Registry
from pipeline.resolution import Resolution

MEASURES = ("pair_precision", "pair_recall", "pair_f1", "b3_precision", "b3_recall", "b3_f1")
#: Labelled set, and whether its strings have one label each.
SETS = {
    "springer_2023_rest": True,
    "s2aff_train": False,
    "s2aff_val": False,
    "ror_logs_train": True,
    "openalex_gold_ror": False,
    "crossref_publisher_train": True,
}
#: Its labels are 4–5 % wrong, and one a string: no errors to read.
NOT_READ = "crossref_publisher_train"
#: The recall at which precision is told, whatever the threshold for it is.
RECALL = 0.8
Figures = dict[str, Any]

#: Sets in which strings name several organisations, all of them labelled.
SEVERAL = ("cwts_nonrelated", "hfe_french", "openalex_gold_ror")


@dataclass(frozen=True)
class Case:
    """A string of a set: the records that are right, and whether the registry holds all its labels."""

    string: str
    right: frozenset[int]
    is_held: bool


def cases(path: Path, fold: str, registry: Registry) -> Iterator[Case]:
    """The strings of a fold of a labelled set, each once."""
    labels: dict[str, set[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["fold"] == fold and row["string"].strip():
                labels.setdefault(row["string"], set()).update(row["labels"])
    for string, own in labels.items():
        found = [int(registry.current[registry.number[i]]) if i in registry.number else -1 for i in own]
        yield Case(string, frozenset(r for r in found if r >= 0), min(found, default=0) >= 0)


def answers(mentions: Mentions, links: Links, is_single: bool) -> dict[str, dict[int, float]]:
    """For each string the best record of each of its mentions (of the main one), with its probability."""
    raw, found = mentions.affiliations.affiliation, dict[str, dict[int, float]]()
    for i in np.flatnonzero(links.is_best).tolist():
        mention = int(links.mention[i])
        if not is_single or mentions.mention[mention].role == MAIN:
            own = found.setdefault(raw[mentions.affiliation[mention]], {})
            record = int(links.record[i])
            own[record] = max(own.get(record, 0.0), float(links.probability[i]))
    return found


def measured(some: list[Case], given: dict[str, dict[int, float]], at: float) -> tuple[float, float, float]:
    """Micro precision, recall and F1 of the records that are at least so probable."""
    taken = [{r for r, p in given.get(c.string, {}).items() if p >= at} for c in some]
    n_right = sum(len(t & c.right) for t, c in zip(taken, some, strict=True))
    n_taken, n_gold = sum(map(len, taken)), sum(len(c.right) for c in some)
    precision, recall = n_right / max(n_taken, 1), n_right / max(n_gold, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def at_recall(some: list[Case], given: dict[str, dict[int, float]]) -> tuple[float, float] | None:
    """Precision where recall reaches `RECALL`, and the threshold for that; None if it never does."""
    answers_of = [(p, r in c.right) for c in some for r, p in given.get(c.string, {}).items()]
    if not answers_of:
        return None
    probability, right = (np.array(c) for c in zip(*sorted(answers_of, reverse=True), strict=True))
    n_right = np.cumsum(right)
    # Answers of one probability are taken together.
    is_last = np.append(np.diff(probability) != 0, True)
    enough = np.flatnonzero((n_right >= RECALL * sum(len(c.right) for c in some)) & is_last)
    if not len(enough):
        return None
    return float(n_right[enough[0]] / (enough[0] + 1)), float(probability[enough[0]])


def links(data: Path, registry: Path, fold: str, at: Sequence[float], model: str | None) -> Figures:
    """Print how right links are, set by set and group by group, at each threshold; returns the same figures.

    Groups are of the strings of all sets, each once, as the first set has it.
    """
    started = time.perf_counter()
    facts = registry_facts(Registry.read(registry))
    some = {name: list(cases(data / "labelled" / f"{name}.jsonl", fold, facts.registry)) for name in SETS}
    some = {name: found for name, found in some.items() if found}
    first = {case.string: (case, name) for name in reversed(some) for case in some[name]}
    mentions, forms = prepare(sorted(first))
    linked = link(forms, facts, LinkingSettings(model=model))
    print(f"fold {fold}: {len(first):,} strings in {time.perf_counter() - started:.1f} s")
    print(f"{'set':24} {'strings':>12} {'ids':>5} {'at':>5}  precision  recall     F1")
    given = {is_single: answers(mentions, linked, is_single) for is_single in (True, False)}
    figures: Figures = {}
    for name, found in some.items():
        figures |= told(name, found, given[SETS[name]], at)
    of_first = {string: given[SETS[name]].get(string, {}) for string, (_, name) in first.items()}
    for name, strings in ({"all": list(first)} | grouped(mentions, forms)).items():
        figures |= told(name, [first[string][0] for string in strings], of_first, at)
    return figures


def told(name: str, found: list[Case], given: dict[str, dict[int, float]], at: Sequence[float]) -> Figures:
    """Print how right the answers to some strings are: to all, and to those whose labels are held."""
    figures: Figures = {}
    for title, part in (("all", found), ("held", [c for c in found if c.is_held])):
        n_ids = sum(len(c.right) for c in part)
        row = {"n_strings": len(part), "n_ids": n_ids, "at": {}}
        for least in at:
            values = measured(part, given, least)
            row["at"][str(least)] = dict(zip(("precision", "recall", "f1"), values, strict=True))
            shown = "  ".join(f"{v:7.3f}" for v in values)
            print(f"{name:24} {len(part):5,} ({title:>4}) {n_ids:5,} {least:5}  {shown}")
        there = at_recall(part, given)
        row["precision_at_recall"] = there and {"recall": RECALL, "precision": there[0], "at": there[1]}
        shown = "never" if there is None else f"{there[1]:5.2f}  {there[0]:7.3f}"
        print(f"{name:24} {len(part):5,} ({title:>4}) {'':5} recall {RECALL}: {shown}")
        figures[f"{name} ({title})"] = row
    return figures


def several(data: Path, registry: Path, fold: str, at: float) -> Figures:
    """Print how right the sets of records are in strings with several labels; returns the same figures.

    Twice: `links` takes the best record of each mention by itself, `run` that of its institution, all strings
    resolved together with the registry. Labels that the registry lacks are left out.
    """
    facts = registry_facts(Registry.read(registry))
    some = {
        name: [
            case
            for case in cases(data / "labelled" / f"{name}.jsonl", fold, facts.registry)
            if len(case.right) > 1
        ]
        for name in SEVERAL
    }
    strings = sorted({case.string for found in some.values() for case in found})
    settings = pipeline.Settings().with_values(linking={"registry": str(registry)})
    run = pipeline.resolve(strings, settings, models=pipeline.Models(registry=facts))
    assert run.linking is not None
    linked = run.linking.records(run.clusters.label)[run.clusters.label]
    by_run: dict[str, dict[int, float]] = {}
    for string, record in zip(run.parsed.affiliation.tolist(), linked.tolist(), strict=True):
        if record >= 0:
            by_run.setdefault(run.parsed.affiliations.affiliation[string], {})[record] = 1.0
    by_link = answers(run.parsed, run.linking.links, is_single=False)
    print(f"fold {fold}: {len(strings):,} strings with several labels")
    print(f"{'set':20} {'strings':>7} {'ids':>5}  {'':5}  precision  recall     F1")
    some["all"] = [case for found in some.values() for case in found]
    figures: Figures = {}
    for name, found in some.items():
        n_ids = sum(len(case.right) for case in found)
        figures[name] = {"n_strings": len(found), "n_ids": n_ids}
        for title, given in (("links", by_link), ("run", by_run)):
            values = measured(found, given, at)
            figures[name][title] = dict(zip(("precision", "recall", "f1"), values, strict=True))
            shown = "  ".join(f"{value:7.3f}" for value in values)
            print(f"{name:20} {len(found):7,} {n_ids:5,}  {title:5}  {shown}")
    return figures


def errors(data: Path, facts: RegistryFacts, folds: Sequence[str], n: int) -> None:
    """Print a sample of the strings in which linking does not answer what the labels say, for reading.

    Drawn by a fixed hash of the string; never of the fold `test`. A line a string: the set, what is labelled
    and was not found, what was found and is not labelled (with its probability).
    """
    if "test" in folds:
        raise SystemExit("errors are read on the folds train and tune; the test fold stays unread")
    registry = facts.registry
    found: dict[str, tuple[str, Case]] = {}
    for name in SETS:
        for fold in folds if name != NOT_READ else ():
            for case in cases(data / "labelled" / f"{name}.jsonl", fold, registry):
                found.setdefault(case.string, (name, case))
    mentions, forms = prepare(sorted(found))
    links = link(forms, facts)
    at = LinkingSettings().min_link_probability
    given = {is_single: answers(mentions, links, is_single) for is_single in (True, False)}
    wrong = []
    for string, (name, case) in found.items():
        taken = {r: p for r, p in given[SETS[name]].get(string, {}).items() if p >= at}
        if set(taken) != case.right:
            wrong.append((hashlib.sha256(string.encode()).hexdigest(), name, case, taken))
    print(f"# {len(wrong):,} of {len(found):,} strings of {', '.join(folds)} differ; {n} of them by hash")
    for _, name, case, taken in sorted(wrong, key=itemgetter(0))[:n]:
        missed = [registry.name[r] for r in sorted(case.right - set(taken))]
        extra = [f"{registry.name[r]} ({taken[r]:.2f})" for r in sorted(set(taken) - case.right)]
        lacking = "" if case.is_held else " (the registry lacks a label)"
        print(f"{name}\t{case.string}\tmissed: {'; '.join(missed)}{lacking}\textra: {'; '.join(extra)}")


def institutions(data: Path, registry: Path, fold: str) -> Figures:
    """Print how good the clusters of a fold's strings are, without and with the registry; returns that."""
    gold = pipeline.read_gold(data / "labelled" / "shared_clusters.tsv", "affiliation", "cluster", fold)
    print(f"fold {fold}: {len(gold):,} strings resolved without and with the registry")
    settings = pipeline.Settings()
    alone = pipeline.resolve(gold.affiliation, settings)
    linked = pipeline.resolve(gold.affiliation, settings.with_values(linking={"registry": str(registry)}))
    runs = {
        "without": alone,
        "with": linked,
        "conflicts ignored": with_conflicts(linked, 1.0),
        "conflicts as evidence": as_evidence(linked),
    }
    figures: Figures = {"n_strings": len(gold)}
    for title, run in runs.items():
        found = pipeline.evaluate(run.mentions, gold, n_bootstrap=0)
        figures[title] = {name: found.value(name) or 0.0 for name in MEASURES}
        print(f"{title:26} " + "  ".join(f"{name} {value:.4f}" for name, value in figures[title].items()))
    return figures


def with_conflicts(run: Resolution, min_probability: float) -> Resolution:
    """The same run in which ids are surely two from another probability on; 1 ignores them."""
    assert run.linking is not None
    settings = replace(run.linking.settings, min_conflict_probability=min_probability)
    other = replace(run, linking=replace(run.linking, settings=settings))
    return other.rethreshold(run.settings.clustering.min_match_probability)


def as_evidence(run: Resolution) -> Resolution:
    """The same run in which mentions that are surely two records have a match probability of 0, no more."""
    assert run.linking is not None
    pairs, linking = run.matches.pairs, run.linking
    is_two = are_conflicting(pairs.left, pairs.right, linking.links, linking.facts.registry, linking.settings)
    probability = np.where(is_two, 0.0, run.matches.probability)
    return with_conflicts(replace(run, matches=replace(run.matches, probability=probability)), 1.0)


def start(path: Path) -> None:
    """Print how long a registry takes from its file to memory, with and without the prepared names in it."""
    registry_facts(Registry.read(path))  # Word lists and libraries are read once.
    started = time.perf_counter()
    registry = Registry.read(path)
    facts = registry_facts(registry)
    kept = time.perf_counter() - started
    started = time.perf_counter()
    name_forms(registry)
    made = time.perf_counter() - started
    print(f"{len(registry):,} records, {len(facts.names.forms):,} names: read in {kept:.1f} s")
    print(f"names prepared in {made:.1f} s where the file does not hold them")


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--registry", type=Path, required=True)
    arguments.add_argument("--fold", default="tune")
    arguments.add_argument("--model", help="folder of a linker; by default the shipped one")
    arguments.add_argument("--at", type=float, nargs="+", default=[LinkingSettings().min_link_probability])
    arguments.add_argument("--institutions", action="store_true", help="measure clusters, not links")
    arguments.add_argument("--start", action="store_true", help="measure how long a registry takes to read")
    arguments.add_argument("--errors", type=int, metavar="N", help="print N wrong answers, for reading")
    arguments.add_argument("--several", action="store_true", help="measure strings with several labels")
    arguments.add_argument("--save", type=Path, help="add the figures to a JSON file")
    chosen = arguments.parse_args()
    if chosen.start:
        start(chosen.registry)
        return
    if chosen.errors:
        errors(chosen.data, registry_facts(Registry.read(chosen.registry)), ("train", "tune"), chosen.errors)
        return
    asked = chosen.data, chosen.registry, chosen.fold
    if chosen.several:
        part, figures = "several", several(*asked, chosen.at[0])
    elif chosen.institutions:
        part, figures = "institutions", institutions(*asked)
    else:
        part, figures = "links", links(*asked, chosen.at, chosen.model)
    if chosen.save:
        known = json.loads(chosen.save.read_text(encoding="utf-8")) if chosen.save.is_file() else {}
        known.setdefault(part, {})[chosen.fold] = figures
        chosen.save.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
