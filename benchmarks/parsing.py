"""Organisations found in strings: spans, number and speed, by set and fold; needs the labelled data.

    python benchmarks/parsing.py --data ../shared/data [--save benchmarks/results/parsing.json] [--fold tune]
    python benchmarks/parsing.py --data ../shared/data --speed-only [--save benchmarks/results/parsing.json]
    python benchmarks/parsing.py --data ../shared/data --errors

Three parsers: a comma rule (every comma segment with the head word of an organisation, else the first), the
rules of the package, and the rules with the trained tagger (the default). A gold span is where a name of the
labelled record stands in the string; span figures are of the strings in which every label has one.
`--errors` prints only why the trained parser finds too few or too many on the fold `tune`, counted by kind.

Speed is that of strings which the process has not parsed before (`benchmarks/built_in.py` tells that of
strings which it has): on one core by its own time, and as a run parses them, in two processes on two cores by
the clock, handing over included; loading tables and models is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.cleaning import clean
from pipeline.errors import UsageError
from pipeline.evaluation import read_gold
from pipeline.folding import fold_values
from pipeline.parsing import ParsingSettings, parse, parse_text
from pipeline.parsing.classify import classify
from pipeline.parsing.marking import NameMarks
from pipeline.parsing.naming import heads_in
from pipeline.parsing.segments import Part
from pipeline.training.spans import (
    Example,
    Name,
    SpanQuality,
    bare_keys,
    examples,
    registry_names,
    span_quality,
)

#: Sets in which every organisation of a string is labelled.
SETS = ("cwts_nonrelated", "hfe_french", "openalex_gold_ror", "openalex_gold_openalex_ids", "ror_api_2019")
SETS += ("s2aff_train", "s2aff_val")
#: The first five, which have figures together, too.
FIVE = SETS[:5]
#: What a class of segment is called among errors; others are `OTHER`.
KINDS = {kind: f"the class {kind}" for kind in ("hospital", "university", "institute", "acronym")}
KINDS |= dict.fromkeys(("unit", "part", "topic"), "a unit")
OTHER = "another class"
STRONG = {"hospital", "university", "academy", "institute", "company", "agency"}


def comma_rule(text: str) -> list[str]:
    """Every comma segment with the head word of an organisation; the first segment where none has one."""
    segments = [s.strip(" .") for s in re.split("[,;]", text)]
    return [s for s in segments if {h.kind for h in heads_in(s)} & STRONG] or segments[:1]


def with_model(model: str | None) -> Callable[[str], list[str]]:
    """The package's parser with a model."""
    settings = ParsingSettings(model=model)

    @cache
    def found(text: str) -> list[str]:
        return [m.organization for m in parse_text(text, settings) if m.organization]

    return found


PARSERS: dict[str, Callable[[str], list[str]]] = {
    "comma rule": comma_rule,
    "rules": with_model("rules"),
    "trained": with_model(None),
}


def script_of(text: str) -> str:
    """`Latin`, or the first word of the Unicode name of the first other letter."""
    names = (unicodedata.name(c, "?").split()[0].title() for c in text if c.isalpha())
    return next((n for n in names if n != "Latin"), "Latin")


def country_group(text: str) -> str:
    """The country of the string's main organisation, in a few groups."""
    code = next((m.country_code for m in parse_text(text, ParsingSettings(model="rules"))), None)
    groups = {"FR": "France", "US": "United States", "CN": "China", None: "none named"}
    return groups.get(code, "others")


def speed(data: Path) -> dict[str, Any]:
    """Strings a second of each parser, cleaned beforehand, in one process and in two; all of them new."""
    strings: dict[str, None] = {}
    for path in sorted((data / "labelled").glob("*.jsonl")):
        if path.stem != "leipzig":
            with path.open(encoding="utf-8") as lines:
                strings.update((json.loads(line)["string"], None) for line in lines)
    found: dict[str, Any] = {"n_strings": len(strings)}
    for name, model in (("rules", "rules"), ("trained", None)):
        for key, n_workers in ((name, 1), (f"{name}, two processes", 2)):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                found[key] = round(
                    len(strings) / pool.submit(seconds, list(strings), model, n_workers).result()
                )
    return found


def seconds(strings: list[str], model: str | None, n_workers: int) -> float:
    """Seconds to parse strings that no process has seen; tables are read, and processes begun, beforehand."""
    os.environ["AFFIL_WORKERS"] = str(n_workers)
    settings = ParsingSettings(model=model)
    cleaned = clean(fold_values(strings).affiliations)
    # The same text over and over fills no cache, and every process gets some of it.
    text = "Dept. of Physics, University of Porto, Portugal"
    parse(replace(cleaned, text=[text] * len(cleaned.text)), settings)
    # One process by its own time: other work on the machine does not count. Several by the clock.
    clock = time.process_time if n_workers == 1 else time.perf_counter
    begin = clock()
    parse(cleaned, settings)
    return clock() - begin


def measured(found: Sequence[Example]) -> dict[str, SpanQuality]:
    """Examples to the quality of each parser."""
    return {n: span_quality(found, [own(e.text) for e in found]) for n, own in PARSERS.items()}


def labelled(data: Path, name: str, fold: str, names: dict[str, list[Name]]) -> list[Example]:
    """The examples of one set and fold, none where the set has no labelled string in it."""
    try:
        return examples(
            read_gold(data / "labelled" / f"{name}.jsonl", "string", "labels", fold, "fold"), names
        )
    except UsageError:
        return []


def print_table(title: str, found: dict[str, SpanQuality]) -> None:
    """One set as a table."""
    first = next(iter(found.values()))
    print(f"\n{title}: {first.n_strings:,} strings, {first.n_several:,} with several labels,"
          f" {first.n_aligned:,} with all spans")  # fmt: skip
    print(f"{'':12} exact number   of several   span P  span R  span F1")
    for name, q in found.items():
        several = f"{q.n_several_exact / q.n_several:11.3f}" if q.n_several else f"{'–':>11}"
        print(f"{name:12}{q.exact_share:13.3f} {several} {q.precision:8.3f} {q.recall:7.3f} {q.f1:8.3f}")


def error_kind(example: Example, found: Sequence[str]) -> str | None:
    """Why there are more or fewer organisations, the main one first, than labels; None if there are not."""
    names = {bare_keys(name): name for name in found if bare_keys(name)}
    gold = [{bare_keys(example.text[a:b]) for a, b in spans} for spans in example.spans]
    n_fewer = example.n_labels - len(names)
    if n_fewer == 0:
        return None
    if n_fewer < 0:
        # The main organisation is a label's more often than others are.
        extra = next((names[keys] for keys in reversed(names) if keys not in set().union(*gold)), found[-1])
        known = "a known name" if NameMarks.load().is_known(extra) else "no known name"
        return f"more: {KINDS.get(classify(Part(extra), 0)[0].kind, OTHER)}, {known}"
    missed = [own for own in gold if own.isdisjoint(names)]
    if not missed or len(example.lacking) >= n_fewer:
        is_held = all(example.lacking)
        return f"fewer: a label {'that the string calls otherwise or not' if is_held else 'of no record'}"
    if any(_holds(name, keys) for own in missed for keys in own for name in names):
        return "fewer: a labelled name within what was found"
    is_word = any(len(keys) == 1 for own in missed for keys in own)
    return f"fewer: a labelled name not found, {'one word' if is_word else 'several words'}"


def _holds(name: Sequence[str], keys: Sequence[str]) -> bool:
    return f" {' '.join(keys)} " in f" {' '.join(name)} "


def print_errors(data: Path) -> None:
    """The kinds of errors of the number of organisations on the fold `tune`, with counts."""
    names = registry_names(data / "registry" / "ror_records_partial.jsonl.gz")
    every = {e.text: e for name in reversed(SETS) for e in labelled(data, name, "tune", names)}
    kinds = {text: error_kind(e, PARSERS["trained"](text)) for text, e in every.items()}
    for title, is_aligned in (("each label has a name in the string", True), ("others", False)):
        own = [kinds[text] for text, e in every.items() if e.is_aligned == is_aligned]
        print(
            f"{title}: {len(own):,} strings, {own.count(None) / max(1, len(own)):.3f} with the exact number"
        )
    for kind, n in Counter(filter(None, kinds.values())).most_common():
        print(f"{n:5}  {kind}")


def figures(found: dict[str, SpanQuality]) -> dict[str, Any]:
    """Counts and shares for the saved file."""
    return {
        name: asdict(q)
        | {"exact_share": round(q.exact_share, 4), "precision": round(q.precision, 4)}
        | {"recall": round(q.recall, 4), "f1": round(q.f1, 4)}
        for name, q in found.items()
    }


def main() -> None:
    """Measure every set and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--save", type=Path)
    options.add_argument("--fold", action="append", choices=("train", "tune", "test"))
    options.add_argument("--errors", action="store_true", help="kinds of errors on tune, and nothing else")
    options.add_argument("--speed-only", action="store_true", help="leave quality as it is saved")
    given = options.parse_args()
    if given.errors:
        print_errors(given.data)
        return
    results = _known(given.save) if given.speed_only else measure(given.data, given.fold or ("tune", "test"))
    results["strings_per_second"] = speed(given.data)
    print(f"\nstrings a second: {results['strings_per_second']}")
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _known(save: Path | None) -> dict[str, Any]:
    """What was saved before."""
    found: dict[str, Any] = json.loads(save.read_text(encoding="utf-8")) if save and save.exists() else {}
    return found


def measure(data: Path, folds: Sequence[str]) -> dict[str, Any]:
    """The quality of every parser on every set and fold, printed and as figures."""
    names = registry_names(data / "registry" / "ror_records_partial.jsonl.gz")
    results: dict[str, Any] = {}
    for fold in folds:
        everything: dict[str, Example] = {}
        groups: dict[str, list[Example]] = defaultdict(list)
        for name in SETS:
            found = labelled(data, name, fold, names)
            if found:
                quality = measured(found)
                print_table(f"{fold}, {name}", quality)
                results[f"{fold}, {name}"] = figures(quality)
                new = {e.text: e for e in reversed(found) if e.text not in everything}
                everything.update(new)
                if name in FIVE:
                    groups["the five sets"] += new.values()
        for example in everything.values():
            groups[f"script {script_of(example.text)}"].append(example)
            groups[f"country {country_group(example.text)}"].append(example)
        groups["all"] = list(everything.values())
        for group, own in sorted(groups.items()):
            quality = measured(own)
            print_table(f"{fold}, {group}", quality)
            results[f"{fold}, {group}"] = figures(quality)
    return results


if __name__ == "__main__":
    main()
