"""The figures of the README and of the pair scorer's card from saved results; `--write` puts them there.

python benchmarks/table.py [--write]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
SETS = {
    "leipzig": "`leipzig`, never trained or tuned on",
    "test": "test fold: institutions that training has not seen",
    "test-in-all": "test fold, resolved among all 19,412 strings",
    "tune": "tune fold (tuned on)",
}
OURS, PEER = "affiliation-resolver, all defaults", "TF-IDF + average linkage (peer)"


def table() -> str:
    """The figures as Markdown."""
    quality = json.loads((RESULTS / "quality.json").read_text(encoding="utf-8"))
    speed = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
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
    quality = json.loads((RESULTS / "quality.json").read_text(encoding="utf-8"))
    lines = ["| strings | number | B³ precision | B³ recall | B³ F1 |", "|---|---|---|---|---|"]
    rows = {SETS[name]: found["rows"][OURS] | {"n": found["n_strings"]} for name, found in quality.items()}
    rows |= {f"test fold, {name}": found for name, found in quality["test"]["groups"].items()}
    for name, row in rows.items():
        values = " | ".join(f"{row[f'b3_{measure}']:.3f}" for measure in ("precision", "recall", "f1"))
        lines.append(f"| {name} | {row['n']:,} | {values} |")
    return "\n".join(lines) + "\n"


#: The pages with figures, and what writes them.
PAGES = {"README.md": table, "pipeline/models/pair_scorer/README.md": groups}


def with_figures(page: str, figures: str) -> str:
    """A page with figures between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + figures + END + after


if __name__ == "__main__":
    for name, figures in PAGES.items():
        if "--write" in sys.argv:
            path = ROOT / name
            path.write_text(with_figures(path.read_text(encoding="utf-8"), figures()), encoding="utf-8")
        else:
            print(figures())
