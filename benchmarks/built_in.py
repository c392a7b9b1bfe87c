"""Size and speed of the models in the package; needs the labelled data, and a registry file for the linker.

    affil registry import ../shared/data/registry/ror_records_partial.jsonl.gz --output out/ror.parquet
    python benchmarks/built_in.py --data ../shared/data --registry out/ror.parquet [--save]

Strings are those of the tune fold. Each model has the machine to itself, the fastest of three times counts;
loading is not counted. Quality is on the models' cards, by the benchmarks that they name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import quality
from table import BEGIN, END

import pipeline
from blocking import BlockingSettings
from pipeline.cleaning import clean
from pipeline.folding import fold_values
from pipeline.known_names import KnownNames
from pipeline.linking import LinkModel, link, registry_facts
from pipeline.model_list import load_named_encoder
from pipeline.parsing import parse
from pipeline.recognition import recognize
from pipeline.registry import Registry
from pipeline.scoring import PairFeatures, WordPairReranker, fit_vocabulary, score
from pipeline.writing import write_json, write_text

HERE = Path(__file__).resolve().parent
PAGE, SAVED = HERE.parent / "docs" / "models.md", HERE / "results" / "built_in.json"
#: Model → what for, dimensions, how a run takes it, how it is made again.
MODELS = {
    "encoder": (
        "vectors of short texts, to find neighbours by; knows names across scripts",
        "256, 128, 64",
        "`--encoder built-in`",
        "`affil train encoder`",
    ),
    "parser": (
        "tags the words of a string: which organisations it names",
        "",
        "default; `[parsing] model`",
        "`affil train parser`",
    ),
    "names": (
        "which names are one organisation's: names of ROR, as hashes",
        "",
        "default; `[normalization] known_names`",
        "`affil train names`",
    ),
    "pair_scorer": (
        "log-odds that two mentions are one institution, from 38 features, and their calibration",
        "",
        "default; `[scoring] model`",
        "`affil train scorer`",
    ),
    "reranker": (
        "reads both mentions of a pair word by word, for pairs in doubt",
        "128",
        "`--reranker built-in`",
        "`affil train reranker`",
    ),
    "linker": (
        "which record of a registry a mention is, with a calibrated probability",
        "",
        "`--registry FILE`",
        "`affil train linker`",
    ),
}
#: Pairs that the reranker is timed on.
N_RERANKED = 10_000


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of three."""
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def size_of(name: str) -> int:
    """Bytes of a model's files, its card left out."""
    folder = Path(str(files("pipeline") / "models" / name))
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")


def measure(strings: list[str], registry: Path | None) -> dict[str, dict[str, Any]]:
    """Strings in; for each model its bytes, and how many of what it takes in a second."""
    settings = pipeline.Settings()
    cleaned = clean(fold_values(strings).affiliations, settings.cleaning)
    result = pipeline.resolve(strings, settings)
    pairs, forms = result.matches.pairs, result.forms
    encoder = load_named_encoder(BlockingSettings(encoder="built-in"))
    vocabulary, reranker = fit_vocabulary(forms), WordPairReranker.load()
    features = PairFeatures(forms, vocabulary)
    left, right = pairs.left[:N_RERANKED], pairs.right[:N_RERANKED]
    features.of(left[:1], right[:1])
    names, texts = KnownNames.load(), (forms.concept, forms.context_concept)
    places = list(zip(forms.country_code, forms.city, strict=True))
    taken: dict[str, tuple[str, int, Callable[[], object]]] = {
        "encoder": ("strings", len(forms.context), lambda: encoder.encode(forms.context)),
        "parser": ("strings", len(strings), lambda: parse(cleaned, settings.parsing)),
        "names": ("mentions", len(forms), lambda: recognize(names, *texts, places)),
        "pair_scorer": ("pairs", len(pairs), lambda: score(forms, pairs, vocabulary, settings.scoring)),
        "reranker": ("pairs", len(left), lambda: reranker.rescore(features, left, right)),
    }
    if registry is not None:
        LinkModel.load(None)
        facts = registry_facts(Registry.read(registry))
        linking, blocking = settings.linking, settings.blocking
        taken["linker"] = ("mentions", len(forms.context), lambda: link(forms, facts, linking, blocking))
    found = {}
    for name, (unit, n, work) in taken.items():
        found[name] = {"bytes": size_of(name), "n": n, "unit": unit, "per_second": round(n / fastest(work))}
        print(f"{name:12} {found[name]['bytes']:12,} bytes {found[name]['per_second']:10,} {unit} a second")
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """Saved figures to the table of docs/models.md."""
    lines = ["| model | what for | licence | size | dimensions | speed | used by | made again by |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, (what, dimensions, used, again) in MODELS.items():
        own = found[name]
        size = f"{own['bytes'] / 1e6:.1f} MB" if own["bytes"] >= 1e5 else f"{own['bytes'] / 1e3:.0f} kB"
        speed = f"{own['per_second']:,} {own['unit']}/s"
        card = f"[{name}](../pipeline/models/{name}/README.md)"
        lines.append(f"| {card} | {what} | Apache-2.0 | {size} | {dimensions} | {speed} | {used} | {again} |")
    return "\n".join(lines) + "\n"


def with_table(page: str, found: dict[str, dict[str, Any]]) -> str:
    """The page with the table between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(found) + END + after


def main() -> None:
    """Print a table; save it, and put it into docs/models.md, where asked."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--registry", type=Path)
    options.add_argument("--save", action="store_true", help="keep the figures, here and in docs/models.md")
    given = options.parse_args()
    found = measure(quality.fold(given.data, "tune").affiliation, given.registry)
    if given.save:
        known = json.loads(SAVED.read_text(encoding="utf-8")) if SAVED.exists() else {}
        write_json(known | found, SAVED)
        write_text(with_table(PAGE.read_text(encoding="utf-8"), known | found), PAGE)


if __name__ == "__main__":
    main()
