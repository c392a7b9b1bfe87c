"""The figures of the README, of cards and of docs/registry.md from saved results; `--write` puts them there.

python benchmarks/table.py [--write]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from groups import ordered

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
SETS = {
    "leipzig": "`leipzig`, never trained or tuned on",
    "test": "test fold: institutions that training has not seen",
    "test-in-all": "test fold, resolved among all 19,412 strings",
    "tune": "tune fold (tuned on)",
}
#: Fold to group to number and figures.
Cells = dict[str, dict[str, list[str]]]
OURS, PEER = "affiliation-resolver, all defaults", "TF-IDF + average linkage (peer)"
NO_NAMES = "no known names"
ENCODERS = ("hashing", "built-in")
HASHING_NAMES = "hashing, transliterated"
#: The default threshold of links, and a careful one.
AT, CAREFUL = "0.55", "0.85"
NOTES = {
    "springer_2023_rest": "main organisations",
    "crossref_publisher_train": "main organisations; 4–5 % of its labels are wrong",
    "ror_logs_train": "main organisations",
}
RUNS = {
    "without": "without a registry",
    "with": "with it",
    "conflicts ignored": "with it, conflicts ignored",
    "conflicts as evidence": "with it, conflicts as evidence only",
}


def saved(name: str) -> dict[str, Any]:
    """The figures that a benchmark saved."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def table() -> str:
    """The figures as Markdown."""
    quality = saved("quality")
    speed = saved("speed")
    lines = [
        "| set | strings | pairwise F1 | B³ F1 (95 % interval) | same, TF-IDF baseline¹ |",
        "|---|---|---|---|---|",
    ]
    lines += [_line(SETS[name], found) for name, found in quality.items()]
    lines += [
        "",
        f"{speed['n_strings']:,} distinct strings: {speed['seconds']:.0f} s and"
        f" {speed['peak_memory_mb']:,} MB at the most on {speed['n_cpus']} CPU cores"
        " (`benchmarks/speed.py`).",
        "",
        "B³ recall by the number of strings that an institution has, in parentheses how many strings:",
        "",
        *_by_size(quality),
        "",
        "What each stage gives, on the test fold:",
        "",
        "| variant | pairwise F1 | B³ F1 |",
        "|---|---|---|",
    ]
    lines += [
        f"| {label} | {row['pair_f1']:.3f} | {row['b3_f1']:.3f} |"
        for label, row in quality["test"]["rows"].items()
    ]
    first = quality["test"]["rows"][OURS]
    lines += [
        "",
        f"Blocking proposes {first['pair_completeness']:.1%} of the true pairs (B³ recall ceiling"
        f" {first['b3_recall_ceiling']:.3f}); average precision of the pairs"
        f" {first['average_precision']:.3f}, expected calibration error {first['calibration_error']:.3f}.",
    ]
    return "\n".join(lines) + "\n"


def _by_size(quality: dict[str, Any]) -> list[str]:
    """B³ recall of small and of large institutions, a set a line."""
    bands = ("2-10", "11-30", "31-300", "more than 300")
    lines = [f"| set | {' | '.join(b.replace('-', '–') for b in bands)} |", "|---|" + "---|" * len(bands)]
    for name, found in quality.items():
        own = found["rows"][OURS]["b3_recall_by_gold_size"]
        cells = [f"{own[b]['value']:.3f} ({own[b]['n_strings']:,})" if b in own else "–" for b in bands]
        lines.append(f"| {SETS[name].partition(':')[0]} | {' | '.join(cells)} |")
    return lines


def _line(title: str, found: dict[str, Any]) -> str:
    ours, peer = found["rows"][OURS], found["rows"].get(PEER)
    low, high = ours["intervals"]["b3_f1"]
    other = f"{peer['pair_f1']:.3f} / {peer['b3_f1']:.3f}" if peer else ""
    values = f"{ours['pair_f1']:.3f} | {ours['b3_f1']:.3f} ({low:.3f}–{high:.3f})"
    return f"| {title} | {found['n_strings']:,} | {values} | {other} |"


def groups() -> str:
    """The default run by set, and on the test fold by country and script, as Markdown."""
    quality = saved("quality")
    lines = ["| strings | number | B³ precision | B³ recall | B³ F1 |", "|---|---|---|---|---|"]
    rows = {SETS[name]: found["rows"][OURS] | {"n": found["n_strings"]} for name, found in quality.items()}
    rows |= {f"test fold, {name}": found for name, found in quality["test"]["groups"][OURS].items()}
    for name, row in rows.items():
        values = " | ".join(f"{row[f'b3_{measure}']:.3f}" for measure in ("precision", "recall", "f1"))
        lines.append(f"| {name} | {row['n']:,} | {values} |")
    return "\n".join(lines) + "\n"


def known_names() -> str:
    """B³ F1 without and with known names, by set, country and script, as Markdown."""
    quality = saved("quality")

    def both(off: dict[str, Any], on: dict[str, Any]) -> str:
        return f"{off['b3_f1']:.3f} → {on['b3_f1']:.3f}"

    cells: Cells = {}
    for fold in ("test", "tune"):
        found = quality[fold]
        off, on = (found["groups"][label] for label in (NO_NAMES, OURS))
        cells[fold] = {
            "all": [f"{found['n_strings']:,}", both(*(found["rows"][r] for r in (NO_NAMES, OURS)))]
        }
        cells[fold] |= {name: [f"{row['n']:,}", both(off[name], row)] for name, row in on.items()}
    rows, n = quality["leipzig"]["rows"], quality["leipzig"]["n_strings"]
    leipzig = f"`leipzig`, never trained or tuned on, {n:,} strings: {both(rows[NO_NAMES], rows[OURS])}."
    return f"{leipzig}\n\n{_by_fold(['B³ F1'], cells)}"


def reranker() -> str:
    """B³ F1 of the tune fold without and with the reranker, by set, country and script, as Markdown."""
    found = saved("rescoring")
    default = next(row for row in found["bands"] if row["band"] == found["band"])
    lines = ["| strings | number | B³ F1, without → with | gain |", "|---|---|---|---|"]
    every = {"n": found["n_strings"], "b3_f1": found["without"]["b3_f1"]}
    without, having = (
        {"all": row} | found["groups"][run] for run, row in (("without", every), ("with", default))
    )
    for name, off in without.items():
        on = having[name]
        both = f"{off['b3_f1']:.3f} → {on['b3_f1']:.3f}"
        lines.append(f"| {name} | {off['n']:,} | {both} | {on['b3_f1'] - off['b3_f1']:+.4f} |")
    return "\n".join(lines) + "\n"


def combinations() -> str:
    """Gains in B³ F1 of ways to combine pair scorer and reranker, as Markdown."""
    found = saved("combination")
    heads = [f"{name} ({part['n_strings']:,})" for name, part in found["parts"].items()]
    lines = [
        f"| combination | {' | '.join(heads)} | sum (95 % interval) |",
        "|---|" + "---|" * (len(heads) + 1),
    ]
    for title, way in found["ways"].items():
        *own, total = way.values()
        low, high = total["interval"]
        cells = [*(f"{c['gain']:+.4f}" for c in own), f"{total['gain']:+.4f} ({low:+.4f} … {high:+.4f})"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    best = [f"{part['best']['with'] - part['best']['without']:+.4f}" for part in found["parts"].values()]
    lines.append(f"| fitted on the same strings, the best threshold of each | {' | '.join(best)} | |")
    return "\n".join(lines) + "\n"


def encoder() -> str:
    """What encoders bring near, by set, country and script, and across scripts, as Markdown."""
    cells: Cells = {}
    for fold, found in saved("encoders").items():
        cells[fold] = {}
        for name, row in found["groups"].items():
            two = ([row[e][measure] for e in ENCODERS] for measure in ("recall", "completeness"))
            values = (" → ".join("–" if v is None else f"{v:.3f}" for v in own) for own in two)
            cells[fold][name] = [f"{row['n']:,}", *values]
    across = saved("cross_script")
    lines = [
        _by_fold(["recall@30", "pair completeness"], cells),
        f"Across scripts: recall@10 of names of unseen records among {across['n_sought']:,} Latin names.",
        "",
        "| script | names | hashing, transliterated | built-in |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['n']:,} | {row[HASHING_NAMES]:.3f} | {row['built-in']:.3f} |"
        for name, row in across["scripts"].items()
    ]
    return "\n".join(lines) + "\n"


def linker() -> str:
    """Precision, recall and F1 of links by set, country and script, as Markdown."""
    cells: Cells = {}
    for fold, found in saved("linking")["links"].items():
        cells[fold] = {}
        for title, row in found.items():
            name, _, part = title.rpartition(" ")
            if part == "(held)" and row["n_ids"]:
                name = f"set: {name}" if name in _labelled(found) else name
                cells[fold][name] = [f"{row['n_strings']:,}", _three(row["at"][AT])]
    return _by_fold(["precision / recall / F1"], cells)


def links_of(fold: str) -> str:
    """Links by set at several thresholds, as Markdown."""
    lines = [
        "| set | strings | precision | recall | F1 | at .85: precision / recall | precision at recall .80"
        " | all strings: precision / recall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = saved("linking")["links"][fold]
    for name in _labelled(found):
        held, every = found[f"{name} (held)"], found[f"{name} (all)"]["at"][AT]
        own, careful, there = held["at"][AT], held["at"][CAREFUL], held["precision_at_recall"]
        cells = (
            f"`{name}` ({NOTES[name]})" if name in NOTES else f"`{name}`",
            f"{held['n_strings']:,}",
            *(f"{own[measure]:.3f}" for measure in ("precision", "recall", "f1")),
            f"{careful['precision']:.3f} / {careful['recall']:.3f}",
            f"{there['precision']:.3f} ({there['at']:.2f})" if there else "not reached",
            f"{every['precision']:.3f} / {every['recall']:.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def several_links() -> str:
    """Sets of links of the test fold's strings with several labels, as Markdown."""
    lines = ["| set | strings | links | institutions of a run |", "|---|---|---|---|"]
    for name, row in saved("linking")["several"]["test"].items():
        title = name if name == "all" else f"`{name}`"
        lines.append(f"| {title} | {row['n_strings']:,} | {_three(row['links'])} | {_three(row['run'])} |")
    return "\n".join(lines) + "\n"


def with_registry() -> str:
    """Clusters without and with a registry, as Markdown."""
    lines = ["| strings | run | pairwise F1 | B³ F1 |", "|---|---|---|---|"]
    for fold, title in (("test", "test fold"), ("tune", "tune fold (chosen on)")):
        found = saved("linking")["institutions"][fold]
        first = f"{title}, {found['n_strings']:,}"
        for name, label in RUNS.items():
            lines.append(f"| {first} | {label} | {found[name]['pair_f1']:.3f} | {found[name]['b3_f1']:.3f} |")
            first = ""
    return "\n".join(lines) + "\n"


def _three(row: dict[str, float]) -> str:
    return " / ".join(f"{row[measure]:.3f}" for measure in ("precision", "recall", "f1"))


def _labelled(found: dict[str, Any]) -> list[str]:
    """The labelled sets among the strings that links are told of."""
    names = (title.removesuffix(" (held)") for title in found if title.endswith(" (held)"))
    return [name for name in names if ":" not in name and name != "all"]


def _by_fold(columns: list[str], cells: Cells) -> str:
    """Number and figures of each group, the test fold's and the tune fold's side by side, as Markdown."""
    head = [f"{column}, {fold}" for fold in ("test", "tune") for column in ("number", *columns)]
    lines = [f"| strings | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for name in ordered({*cells["test"], *cells["tune"]}):
        found = [cells[fold].get(name, ["–"] * (1 + len(columns))) for fold in ("test", "tune")]
        lines.append(f"| {name} | {' | '.join([*found[0], *found[1]])} |")
    return "\n".join(lines) + "\n"


#: The pages with figures, and what writes each part of them.
PAGES: dict[str, tuple[Callable[[], str], ...]] = {
    "README.md": (table,),
    "docs/registry.md": (with_registry, partial(links_of, "test"), partial(links_of, "tune"), several_links),
    "pipeline/models/encoder/README.md": (encoder,),
    "pipeline/models/linker/README.md": (linker,),
    "pipeline/models/names/README.md": (known_names,),
    "pipeline/models/pair_scorer/README.md": (groups,),
    "pipeline/models/reranker/README.md": (combinations, reranker),
}


def with_figures(page: str, figures: Iterable[str]) -> str:
    """A page with figures between its marks, part by part."""
    before, *parts = page.split(BEGIN)
    afters = [part.split(END)[1] for part in parts]
    return before + "".join(BEGIN + own + END + after for own, after in zip(figures, afters, strict=True))


if __name__ == "__main__":
    for name, parts in PAGES.items():
        figures = [part() for part in parts]
        if "--write" in sys.argv:
            path = ROOT / name
            path.write_text(with_figures(path.read_text(encoding="utf-8"), figures), encoding="utf-8")
        else:
            print("\n".join(figures))
