"""The parser trained without a fifth of the organisations of the train fold, on strings that name them.

    python benchmarks/parsing_fifths.py --data ../shared/data [--fifth 0 --fifth 1] [--seed 0] [--recipe FILE]

Variants of the training are chosen by this and by the fold `tune`. A fifth is left out as the fold `test` is:
a string with any label of it teaches nothing, and its organisations keep their names. Needs PyTorch and the
labelled data; a fifth takes a minute or two.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from parsing import FIVE, SETS, labelled, print_table, with_model

from pipeline.training.parser import LabelFiles, ParserRecipe, train_parser
from pipeline.training.spans import registry_names, span_quality

N_PARTS = 5
#: Sets with one label a string.
SINGLE = ("crossref_publisher_train", "springer_2023_rest", "cordis", "ror_api_names", "ror_logs_train")


def is_of(label: str, fifth: int) -> bool:
    """Whether an organisation is of a fifth; by another hash than that of the folds."""
    return int(hashlib.sha256(f"fifth {label}".encode()).hexdigest(), 16) % N_PARTS == fifth


def rows_of(path: Path) -> Iterator[dict[str, object]]:
    """The labelled rows of a set, those of the folds `train` and `tune`."""
    with path.open(encoding="utf-8") as lines:
        yield from (row for line in lines if (row := json.loads(line))["fold"] in ("train", "tune"))


def leave_out(data: Path, fifth: int, folder: Path) -> None:
    """Write the labelled sets and the folds again, a fifth of `train` as `test` and nothing of the other."""
    (folder / "labelled").mkdir()
    rows = {name: list(rows_of(data / "labelled" / f"{name}.jsonl")) for name in (*SETS, *SINGLE)}
    held = {
        row["string"]
        for own in rows.values()
        for row in own
        if row["fold"] == "train" and any(is_of(label, fifth) for label in row["labels"])
    }
    for name, own in rows.items():
        with (folder / "labelled" / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in own:
                is_held = row["fold"] == "train" and row["string"] in held
                file.write(json.dumps(row | {"fold": "test" if is_held else row["fold"]}) + "\n")
    with (data / "folds.tsv").open(encoding="utf-8") as file:
        folds = dict(csv.reader(file, delimiter="\t"))
    labels = {label for own in rows.values() for row in own for label in row["labels"]}
    folds |= {label: "test" for label in labels if is_of(label, fifth) and folds.get(label) != "tune"}
    with (folder / "folds.tsv").open("w", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(folds.items())


def measure(data: Path, fifth: int, recipe: ParserRecipe) -> None:
    """Train without a fifth, and print what the tagger makes of its strings, by set."""
    registry = data / "registry" / "ror_records_partial.jsonl.gz"
    names = registry_names(registry)
    with tempfile.TemporaryDirectory() as written:
        folder = Path(written)
        leave_out(data, fifth, folder)
        complete, single = ([folder / "labelled" / f"{n}.jsonl" for n in own] for own in (SETS, SINGLE))
        files = LabelFiles(complete, single, "string", "labels")
        *_, last, _ = train_parser(files, registry, folder / "model", folder / "folds.tsv", recipe)
        print(f"\nfifth {fifth}, seed {recipe.seed}: {last}")
        parser = with_model(str(folder / "model"))
        seen: set[str] = set()
        five = []
        for name in SETS:
            found = [e for e in labelled(folder, name, "test", names) if e.text not in seen]
            seen.update(e.text for e in found)
            five += found if name in FIVE else []
            groups = [(name, found)] if found else []
            for title, own in [*groups, *([("the five sets", five)] if name == FIVE[-1] else [])]:
                quality = span_quality(own, [parser(e.text) for e in own])
                print_table(f"fifth {fifth}, {title}", {"trained": quality})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each fifth that is asked for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--fifth", type=int, action="append", choices=range(N_PARTS))
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--recipe", type=Path)
    given = options.parse_args(arguments)
    recipe = replace(ParserRecipe.read(given.recipe), seed=given.seed)
    for fifth in given.fifth or range(N_PARTS):
        measure(given.data, fifth, recipe)


if __name__ == "__main__":
    main()
