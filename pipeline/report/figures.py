"""The figures of the report: tiles, distributions, countries, what was set aside, settings, timings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.report.evidence import PAIR_EDGES, Int64s, histogram
from pipeline.report.wording import as_number, count, counted, duration, is_missing, moment, percent, shorten

Float64s = npt.NDArray[np.float64]

#: Edges of the chart of strings by their probability; the last bin takes 1.0 in.
MEMBER_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
N_EXAMPLES = 3
N_WARNINGS = 20
N_SETTINGS = 300
#: Bars of the chart of silhouettes.
N_TRIED = 40

#: Measures of an evaluation in plain words, the one for the tile first.
MEASURES = {
    "b3_f1": "Quality (B³ F1)",
    "b3_precision": "B³ precision",
    "b3_recall": "B³ recall",
    "pair_f1": "Pairwise F1",
    "pair_precision": "Pairwise precision",
    "pair_recall": "Pairwise recall",
}


@dataclass(frozen=True)
class Tile:
    """A key figure."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Bar:
    """A line of a chart: lengths of its segments as percentages of the longest bar, and its counts."""

    label: str
    lengths: tuple[float, ...]
    counts: tuple[str, ...]
    share: str


@dataclass(frozen=True)
class Chart:
    """A distribution; `series` names the segments of every bar (one name: no legend is needed)."""

    title: str
    note: str
    unit: str
    series: tuple[str, ...]
    bars: list[Bar]


@dataclass(frozen=True)
class Country:
    """A country's institutions, and the strings that name them."""

    code: str
    n_institutions: int
    n_mentions: int
    n_occurrences: int


@dataclass(frozen=True)
class Reason:
    """Why something was set aside, how often, and the most frequent examples."""

    reason: str
    is_whole: bool
    n_strings: int
    n_occurrences: int
    examples: list[str]


@dataclass(frozen=True)
class Stage:
    """What a stage took; `length` is its share of the longest, in percent."""

    name: str
    seconds: str
    memory: str
    length: float


@dataclass(frozen=True)
class Heading:
    """What was run, and when."""

    inputs: list[str]
    n_more_inputs: int
    finished: str
    version: str
    warnings: list[str]
    n_more_warnings: int


def heading(manifest: Mapping[str, Any]) -> Heading:
    """The manifest in, the report's head out: names of the input, moment, version, warnings."""
    inputs = _input_names(manifest)
    finished = next((manifest[key] for key in ("finished", "created", "started") if manifest.get(key)), "")
    warnings = [shorten(warning, 400) for warning in manifest.get("warnings") or []]
    return Heading(
        inputs=inputs[:3],
        n_more_inputs=max(0, len(inputs) - 3),
        finished=moment(finished),
        version=shorten(manifest.get("version"), 40),
        warnings=warnings[:N_WARNINGS],
        n_more_warnings=max(0, len(warnings) - N_WARNINGS),
    )


def _input_names(manifest: Mapping[str, Any]) -> list[str]:
    inputs = manifest.get("inputs") or manifest.get("input") or []
    items = inputs if isinstance(inputs, list) else [inputs]
    named = [item.get("name") or item.get("path") if isinstance(item, dict) else item for item in items]
    return [name for name in (_file_name(item) for item in named) if name]


def _file_name(path: object) -> str:
    """The last part of a path of any system; "-" is what the command line calls its standard input."""
    name = "" if is_missing(path) else str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "standard input" if name == "-" else shorten(name, 120)


def tiles(manifest: Mapping[str, Any], set_aside: pd.DataFrame) -> list[Tile]:
    """The key figures of a run; the quality only where the run was evaluated."""
    counts = manifest.get("counts") or {}
    is_whole = set_aside["is_whole"].astype(bool)
    n_pieces = int((~is_whole).sum())
    shown = [
        Tile("Rows read", count(counts.get("rows")), ""),
        Tile("Distinct strings", count(counts.get("distinct")), "each compared once"),
        Tile("Organisations named", count(counts.get("mentions")), "a string may name several"),
        Tile("Institutions", count(counts.get("institutions")), _largest(counts)),
        Tile("Set aside", count(int(is_whole.sum())), f"and {counted(n_pieces, 'piece')} of strings"),
        Tile("Time taken", duration(total_seconds(manifest)), ""),
    ]
    evaluation = manifest.get("evaluation") or {}
    measure = next((name for name in MEASURES if name in evaluation), None)
    if measure is not None:
        shown.append(Tile(MEASURES[measure], _measure(evaluation[measure]), "against labelled strings"))
    return shown


def _largest(counts: Mapping[str, Any]) -> str:
    n_largest = counts.get("largest_cluster")
    return "" if is_missing(n_largest) else f"the largest has {counted(n_largest, 'string')}"


def total_seconds(manifest: Mapping[str, Any]) -> float:
    """Seconds of all stages together, NaN where none is known."""
    seconds = [as_number(stage.get("seconds")) for stage in manifest.get("stages") or []]
    return math.fsum(s for s in seconds if not math.isnan(s)) if seconds else math.nan


def size_chart(institutions: pd.DataFrame) -> Chart:
    """How many institutions have how many strings; the bins double (1, 2, 3–4, 5–8 …)."""
    sizes = pd.to_numeric(institutions["n_mentions"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    sizes = sizes[sizes >= 1]
    bins = np.ceil(np.log2(sizes)).astype(np.int64)
    found = np.bincount(bins)
    labels = [_size_label(number) for number in range(len(found))]
    return Chart(
        "How large the institutions are",
        "Strings that were brought together as one institution. "
        "Those with a single string matched nothing else.",
        "institutions",
        ("institutions",),
        _bars(labels, [found.tolist()]),
    )


def _size_label(number: int) -> str:
    if number == 0:
        return "1 string"
    low, high = 2 ** (number - 1) + 1, 2**number
    return f"{high:,} strings" if low == high else f"{low:,}–{high:,}"


def member_chart(mentions: pd.DataFrame) -> Chart:
    """How many strings belong to their institution with which probability; single strings are left out."""
    values = pd.to_numeric(mentions["match_probability"], errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    values = values[~np.isnan(values)]
    return Chart(
        "How sure each string's place is",
        "The probability that a string belongs to the institution it was given to. "
        "For a string that stands alone: that it does.",
        "strings",
        ("strings",),
        _bars(_edge_labels(MEMBER_EDGES), [histogram(values, MEMBER_EDGES).tolist()]),
    )


def pair_chart(n_pairs: Int64s) -> Chart:
    """How probable the compared pairs are, those that ended up together apart from those that did not."""
    return Chart(
        "How alike the compared pairs are",
        "The probability that two strings name one institution. A clear run has its pairs at both ends.",
        "pairs",
        ("together", "kept apart"),
        _bars(_edge_labels(PAIR_EDGES), n_pairs.tolist()),
    )


def silhouette_charts(manifest: Mapping[str, Any]) -> list[Chart]:
    """How well each number of clusters that k-means tried sets them apart; nothing where it was not used."""
    tried = [
        (int(entry["n_clusters"]), as_number(entry["silhouette"]))
        for entry in manifest.get("silhouette") or []
    ]
    if not tried:
        return []
    taken, best = max(tried, key=lambda entry: (entry[1], -entry[0]))
    # Every n-th of a long search, and always the one that was taken.
    every = math.ceil(len(tried) / N_TRIED)
    shown = [entry for place, entry in enumerate(tried) if place % every == 0 or entry[0] == taken]
    bars = []
    for n_clusters, value in shown:
        length = round(100 * max(value, 0.0) / best, 2) if best > 0 else 0.0
        is_taken = n_clusters == taken
        lengths, figure = (length, 0.0) if is_taken else (0.0, length), f"{value:.3f}"
        bars.append(
            Bar(counted(n_clusters, "cluster"), lengths, (figure, "") if is_taken else ("", figure), "")
        )
    return [
        Chart(
            "How well each number of clusters sets them apart",
            "The mean silhouette, at most 1: how much nearer a text is to its own cluster than to the next. "
            "k-means took the number with the highest.",
            "silhouette",
            ("taken", "tried"),
            bars,
        )
    ]


def _edge_labels(edges: tuple[float, ...]) -> list[str]:
    between = [f"{low:.0%}–{high:.0%}".replace("%–", "–") for low, high in pairwise(edges)]
    return [*between, f"{edges[-1]:.0%} and over"]


def _bars(labels: list[str], series: list[list[int]]) -> list[Bar]:
    totals = [sum(values) for values in zip(*series, strict=True)]
    n_all, longest = sum(totals), max(totals, default=0)
    if not n_all:
        return []
    return [
        Bar(
            label,
            tuple(round(100 * value / longest, 2) for value in values),
            tuple(count(value) for value in values),
            percent(total / n_all),
        )
        for label, total, *values in zip(labels, totals, *series, strict=True)
    ]


def countries(institutions: pd.DataFrame) -> list[Country]:
    """Institutions and strings a country, most institutions first; the code is "" where none is known."""
    code = institutions["country_code"].fillna("").astype(str).str.strip().str.upper().rename("code")
    sums = institutions[["n_mentions", "n_occurrences"]].groupby(code).agg(["size", "sum"])
    found = [
        Country(shorten(code, 8), int(n), int(n_mentions), int(n_occurrences))
        for code, n, n_mentions, _, n_occurrences in sums.itertuples()
    ]
    return sorted(found, key=lambda country: (-country.n_institutions, -country.n_mentions, country.code))


def reasons(set_aside: pd.DataFrame, n_characters: int) -> list[Reason]:
    """What was set aside a reason, whole strings first, most frequent first, each with examples."""
    found = []
    for keys, rows in set_aside.groupby(["is_whole", "reason"], dropna=False):
        is_whole, reason = keys
        sums = rows.groupby("string", sort=True)["n_occurrences"].sum()
        examples = sums.sort_values(ascending=False, kind="stable").index[:N_EXAMPLES]
        shown = [shorten(example, n_characters) for example in examples]
        name = shorten(reason, 120).replace("_", " ")
        found.append(Reason(name, bool(is_whole), len(rows), int(sums.sum()), [s for s in shown if s]))
    return sorted(found, key=lambda r: (not r.is_whole, -r.n_strings, r.reason))


def stages(manifest: Mapping[str, Any]) -> list[Stage]:
    """Seconds and memory a stage, in the order of the run."""
    entries = manifest.get("stages") or []
    seconds = [as_number(entry.get("seconds")) for entry in entries]
    longest = max((s for s in seconds if s > 0), default=1.0)
    return [
        Stage(
            shorten(entry.get("name"), 60),
            duration(taken),
            _megabytes(as_number(entry.get("peak_memory_mb"))),
            0.0 if math.isnan(taken) else round(100 * taken / longest, 2),
        )
        for entry, taken in zip(entries, seconds, strict=True)
    ]


def _megabytes(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f} MB"


def measures(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All measures of the evaluation, in plain words; none where the run was not evaluated."""
    flat = _flatten(manifest.get("evaluation") or {})
    return [(MEASURES.get(key, key.replace("_", " ")), _measure(value)) for key, value in flat][:N_SETTINGS]


def _measure(value: object) -> str:
    number = as_number(value)
    if math.isnan(number):
        return shorten(value, 80) or "–"
    return f"{number:.3f}" if 0 <= number <= 1 and not isinstance(value, int) else f"{number:,.10g}"


def counts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All counts of the run, as they are named in the manifest."""
    flat = _flatten(manifest.get("counts") or {})
    return [(key.replace("_", " "), _measure(value)) for key, value in flat][:N_SETTINGS]


def settings(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All settings as (dotted name, value), values in the form of JSON."""
    flat = _flatten(manifest.get("settings") or {})
    return [(key, shorten(json.dumps(value, ensure_ascii=False, default=str), 300)) for key, value in flat][
        :N_SETTINGS
    ]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{shorten(key, 80)}", value
