"""Names in other scripts: is the organisation among the ten nearest names in Latin letters? By script.

    python benchmarks/cross_script.py --data ../shared/data [--encoder built-in] [--save FILE]

Asked are the names of registry records of the fold `names-test`, which no training has read; sought are the
Latin names of all records. Beside the encoder stands the untrained one over transliterated names.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from groups import script

from blocking import Encoder, load_encoder
from blocking.hashing import HashingEncoder
from pipeline.model_list import BUILT_IN_ENCODER, encoder_source
from pipeline.text import compare, transliterate
from pipeline.training.renderings import read_registry

N_NEIGHBOURS = 10


@dataclass(frozen=True)
class Names:
    """Compare forms of names and the record of each."""

    text: list[str]
    record: np.ndarray


def read_names(data: Path) -> tuple[Names, Names]:
    """Names in other scripts of the unseen records, and the Latin names of all records."""
    with (data / "folds.tsv").open(encoding="utf-8", newline="") as lines:
        unseen = {r["ror_id"] for r in csv.DictReader(lines, delimiter="\t") if r["fold"] == "names-test"}
    asked: list[tuple[str, int]] = []
    sought: list[tuple[str, int]] = []
    for number, record in enumerate(read_registry(data / "registry" / "ror_records_partial.jsonl.gz")):
        names = [n["value"] for n in record["names"] if "acronym" not in n["types"]]
        latin = [n for n in names if script(n) == "Latin"]
        sought += [(compare(n), number) for n in latin]
        # A record without a Latin name cannot be found, and says nothing.
        if latin and record["id"].rsplit("/", 1)[-1] in unseen:
            asked += [(compare(n), number) for n in names if script(n) not in ("Latin", "")]
    return tuple(Names([t for t, _ in own], np.array([n for _, n in own])) for own in (asked, sought))


def is_found(asked: Names, sought: Names, encoder: Encoder) -> np.ndarray:
    """Whether a name of the same record is among the nearest, for each name asked."""
    vectors, targets = encoder.encode(asked.text), encoder.encode(sought.text)
    found = np.zeros(len(asked.text), bool)
    wanted = min(N_NEIGHBOURS, len(targets))
    for start in range(0, len(vectors), 256):
        cosine = vectors[start : start + 256] @ targets.T
        nearest = np.argpartition(-cosine, wanted - 1, axis=1)[:, :wanted]
        found[start : start + 256] = (sought.record[nearest] == asked.record[start : start + 256, None]).any(
            1
        )
    return found


def transliterated(names: Names) -> Names:
    """The same names in Latin letters."""
    return Names([transliterate(text) for text in names.text], names.record)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a script."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--encoder", default=BUILT_IN_ENCODER)
    options.add_argument("--save", type=Path)
    given = options.parse_args(arguments)
    asked, sought = read_names(given.data)
    hashing = HashingEncoder()
    hashing.fit(transliterated(sought).text)
    columns = {
        given.encoder: is_found(asked, sought, load_encoder(encoder_source(given.encoder))),
        "hashing, transliterated": is_found(transliterated(asked), transliterated(sought), hashing),
    }
    scripts = np.array([script(text) for text in asked.text])
    print(f"recall@{N_NEIGHBOURS} of {len(asked.text):,} names among {len(sought.text):,} Latin names")
    print(f"{'script':14}names  " + "  ".join(columns))
    results: dict[str, Any] = {"n_sought": len(sought.text), "scripts": {}}
    for name, n in [*Counter(scripts.tolist()).most_common(), ("all", len(scripts))]:
        rows = scripts == name if name != "all" else np.ones(len(scripts), bool)
        recall = {label: round(float(own[rows].mean()), 4) for label, own in columns.items()}
        results["scripts"][name] = {"n": n} | recall
        figures = "  ".join(f"{value:{len(label)}.3f}" for label, value in recall.items())
        print(f"{name:14}{n:5}  {figures}")
    if given.save:
        given.save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
