"""Strings of another kind: sources that the pair scorer was not fitted on, each left out in turn.

    python benchmarks/sources.py --data ../shared/data [--write docs/sources.md]

For every source, a scorer is fitted and calibrated without its strings, by the shipped one's recipe, and
resolves the source's strings of the folds `train` and `tune` by themselves, everything else by default.
Beside it the same with a scorer that knows the source and not the institutions: one fitted without a fifth of
the institutions of `train`, on the strings of that fifth and of `tune`. Parser, encoder and known names are
the shipped ones throughout; the parser was trained on strings of these sources. The test fold, and `leipzig`,
are not read. Takes some ten minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pipeline
from pipeline.evaluation import Gold
from pipeline.training.labels import is_held_out
from pipeline.training.scorer import train_scorer

#: Sources of `shared_clusters.tsv`, by the files that they come from; the smaller ones are left out together.
SOURCES = {
    "Springer Nature": ("springer_2023_rest",),
    "Crossref, publisher-asserted": ("crossref_publisher_train",),
    "Semantic Scholar (S2AFF)": ("s2aff_train", "s2aff_val"),
    "CORDIS, OpenAlex, ROR's tests and logs, French": (
        *("cordis", "openalex_gold_ror", "ror_api_2019", "ror_api_names", "ror_logs_train"),
        *("hfe_french", "cwts_nonrelated"),
    ),
}
#: Institutions of at least so many strings, alone: a file about a few large ones, such as a university's own.
LARGE = 4
MEASURES = ("pair_precision", "pair_recall", "pair_f1", "b3_precision", "b3_recall", "b3_f1")


class Row(NamedTuple):
    """A labelled string."""

    affiliation: str
    cluster: str
    fold: str
    source: str

    @property
    def is_new(self) -> bool:
        """Whether its institution is one that the scorer of known sources has not seen."""
        return self.fold == "tune" or is_held_out(self.cluster)


class Line(NamedTuple):
    """A line of a table: what was resolved, the shift of log-odds, the measures."""

    name: str
    n_strings: int
    n_institutions: int
    shift: float
    measure: dict[str, float]


def read(data: Path) -> list[Row]:
    """The strings of the folds `train` and `tune`, each once."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        rows = [Row(**r) for r in csv.DictReader(lines, delimiter="\t") if r["fold"] in ("train", "tune")]
    return list({row.affiliation: row for row in reversed(rows)}.values())[::-1]


def fitted(rows: Iterable[Row], folder: Path) -> pipeline.Settings:
    """Rows of both folds to settings with a scorer that was fitted and calibrated on them."""
    folder.mkdir()
    with (folder / "labels.tsv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, delimiter="\t")
        out.writerow(("affiliation", "cluster", "fold"))
        out.writerows((r.affiliation, r.cluster, r.fold) for r in rows)
    *_, last = train_scorer(folder / "labels.tsv", folder / "scorer")
    print(f"{folder.name}: {last}")
    return pipeline.Settings().with_values(
        scoring={"model": str(folder / "scorer" / "model.json")},
        calibration={"file": str(folder / "scorer" / "calibration.json")},
    )


def large(rows: list[Row]) -> list[Row]:
    """The rows of institutions that have many."""
    count = Counter(r.cluster for r in rows)
    return [r for r in rows if count[r.cluster] >= LARGE]


def line(name: str, rows: list[Row], settings: pipeline.Settings) -> Line:
    """Rows resolved by themselves."""
    gold = Gold([r.affiliation for r in rows], [(r.cluster,) for r in rows])
    run = pipeline.resolve(gold.affiliation, settings)
    found = pipeline.evaluate(run.mentions, gold, n_bootstrap=0)
    measure = {m: found.value(m) or 0.0 for m in MEASURES}
    return Line(name, len(rows), len({r.cluster for r in rows}), run.matches.shift, measure)


def mean(lines: list[Line]) -> Line:
    """The mean over sources, each counted alike."""
    n = len(lines)
    measure = {m: sum(x.measure[m] for x in lines) / n for m in MEASURES}
    strings, institutions = (sum(getattr(x, c) for x in lines) for c in ("n_strings", "n_institutions"))
    return Line("mean", strings, institutions, sum(x.shift for x in lines) / n, measure)


def table(title: str, lines: list[Line]) -> str:
    """Lines as Markdown."""
    head = "strings | institutions | pair P | pair R | pair F1 | B³ P | B³ R | B³ F1 | shift of log-odds"
    text = [f"## {title}", "", f"| source | {head} |", "|---" * 10 + "|"]
    for name, n, n_institutions, shift, measure in [*lines, mean(lines)]:
        figures = " | ".join(f"{measure[m]:.3f}" for m in MEASURES)
        text.append(f"| {name} | {n:,} | {n_institutions:,} | {figures} | {shift:+.2f} |")
    return "\n".join([*text, ""])


def measured(rows: list[Row], folder: Path) -> dict[str, list[Line]]:
    """All tables, by title."""
    known_source = fitted((r for r in rows if r.fold == "tune" or not r.is_new), folder / "known-sources")
    tables: dict[str, list[Line]] = {
        "The source is new": [],
        f"The source is new, institutions of {LARGE} strings or more alone": [],
        "The source is new; only institutions new to the scorer beside": [],
        "The source is known, its institutions are not": [],
    }
    for name, files in SOURCES.items():
        own = [r for r in rows if r.source in files]
        settings = fitted((r for r in rows if r.source not in files), folder / files[0])
        new = [r for r in own if r.is_new]
        asked = ((own, settings), (large(own), settings), (new, settings), (new, known_source))
        for lines, (some, by) in zip(tables.values(), asked, strict=True):
            lines.append(line(name, some, by))
    return tables


def main() -> None:
    """Print the tables, or write them."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = measured(read(given.data), Path(folder))
    head = (
        "# Strings of another kind\n\n"
        "Written by `benchmarks/sources.py`. What is yours is not what the models were trained on. Here each"
        " source of the labelled strings is left out in turn: a pair scorer is fitted and calibrated without"
        " it, by the shipped one's recipe, and resolves the source's strings of the folds `train` and `tune`"
        " by themselves, with all other defaults. Parser, encoder and known names are the shipped ones (the"
        " parser was trained on some of these strings). Pair precision and recall count large institutions"
        " most; B³ counts every string alike. Many institutions have one string here: for a file in which"
        " most have several, read the second table. What a new source costs, the last two show: they"
        " are of the same strings.\n"
    )
    text = "\n".join([head, *(table(title, lines) for title, lines in tables.items())])
    if given.write:
        given.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
