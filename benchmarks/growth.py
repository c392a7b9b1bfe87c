"""Growth: ten batches beside one run on the whole, and new strings against a finished run.

    python benchmarks/growth.py --data ../shared/data [--size 20000] [--batches 10] [--first N] [--save FILE]
        [-- OPTIONS]

Synthetic strings (`benchmarks/synthetic.py`) are resolved at once; and in batches: `affil resolve` for the
first (of N strings, else as many as each other), `affil add` for each other, a process each; then the same
additions once more to the first batch, all by one process, as a service makes them. B³ F1 between the two
partitions of mentions says how far they agree; seconds are of whole processes, on the wall and of processor
time (which tells more on a machine that has other work). Then strings that the run lacks are looked up:
milliseconds a string in one call, on the wall and of processor time (all cores), after a first call that
loads the models; and how long making and opening the index takes. OPTIONS go to `affil resolve`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import synthetic

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class Cost(NamedTuple):
    """Seconds of a process on the wall, and of processor time on all cores."""

    wall: float
    cpu: float


#: Adds files to a run, one after the other; tells seconds of each on the wall and of processor time.
SERVICE = """
import json, os, sys, time
from pipeline.add_job import run_add_job

def seconds():
    return time.perf_counter(), sum(os.times()[:4])

costs = []
for path in sys.argv[2:]:
    begin = seconds()
    run_add_job(sys.argv[1], [path])
    costs.append([end - start for start, end in zip(begin, seconds())])
print(json.dumps(costs))
"""


def affil(*arguments: object) -> Cost:
    """What a command costs as a process of its own."""
    return python("-m", "pipeline.cli", *arguments)[0]


def python(*arguments: object) -> tuple[Cost, str]:
    """What a process of Python's costs, and what it prints."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    begin, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    if done.returncode:
        sys.exit(f"growth.py: {' '.join(map(str, arguments[1:3]))} failed: {done.stderr.strip()}")
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.perf_counter() - begin, busy), done.stdout


def agreement(one: Path, other: Path) -> dict[str, float]:
    """B³ between the partitions of mentions of two runs."""
    import numpy as np
    import pandas as pd

    from pipeline.evaluation.memberships import Memberships
    from pipeline.evaluation.metrics import overlap

    tables = [
        pd.read_parquet(run / "mentions.parquet", columns=["mention_id", "entity_id"]) for run in (one, other)
    ]
    if tables[0]["mention_id"].tolist() != tables[1]["mention_id"].tolist():
        sys.exit("growth.py: the two runs have different mentions")
    rows = np.arange(len(tables[0]))
    shared = overlap(*(Memberships.of(rows, pd.factorize(t["entity_id"])[0], len(rows)) for t in tables))
    precision, recall = float(shared.precision.mean()), float(shared.recall.mean())
    return {
        "b3_precision": precision,
        "b3_recall": recall,
        "b3_f1": 2 * precision * recall / (precision + recall),
    }


def quality(run: Path, gold: Path) -> float:
    """B³ F1 of a run against the institutions that its strings were made from."""
    import pipeline
    from pipeline.run_folder import read_frames

    labels = pipeline.read_gold(gold, "affiliation", "cluster")
    return pipeline.evaluate(read_frames(run).mentions, labels, n_bootstrap=0).value("b3_f1") or 0.0


def lookups(run: Path, strings: Sequence[str]) -> dict[str, float]:
    """Seconds to make and to open the index, milliseconds a string in a batch."""
    from pipeline.index import AffiliationIndex

    begin = time.perf_counter()
    AffiliationIndex.load(run).lookup(strings[:10])
    made = time.perf_counter() - begin
    begin = time.perf_counter()
    index = AffiliationIndex.load(run)
    opened = time.perf_counter() - begin
    index.lookup(strings[:10])
    begin, busy = time.perf_counter(), time.process_time()
    found = index.lookup(strings[10:])
    wall, busy = time.perf_counter() - begin, time.process_time() - busy
    n = len(strings) - 10
    return {
        "seconds_to_make": made,
        "seconds_to_open": opened,
        "ms_a_string": 1000 * wall / n,
        "cpu_ms_a_string": 1000 * busy / n,
        "share_found": float(found["entity_id"].notna().mean()),
        "bytes": float(sum(p.stat().st_size for p in (run / "index").iterdir())),
    }


def one_process(run: Path, files: Sequence[Path]) -> dict[str, Any]:
    """What it costs that one process adds files to a run: itself, with its start, and each of them."""
    cost, told = python("-c", SERVICE, run, *files)
    additions = [Cost(*one) for one in json.loads(told)]
    return {
        "seconds_one_process": cost.wall,
        "cpu_seconds_one_process": cost.cpu,
        "seconds_additions": [one.wall for one in additions],
        "cpu_seconds_additions": [one.cpu for one in additions],
    }


def run(
    rows: Sequence[tuple[str, str]], ends: Sequence[int], options: Sequence[str], scratch: Path
) -> dict[str, Any]:
    """Strings and where each batch ends, to the figures; those behind the last batch are looked up."""
    whole, grown, served = (scratch / name for name in ("whole", "grown", "served"))
    n, n_batches = ends[-1], len(ends)
    synthetic.write(iter(rows[:n]), scratch / "whole.parquet")
    for i, (start, end) in enumerate(pairwise([0, *ends])):
        synthetic.write(iter(rows[start:end]), scratch / f"{i}.parquet")
    given = ("--column", "affiliation", "--quiet", *options)
    batches = [affil("resolve", scratch / "0.parquet", "--output", grown, *given)]
    shutil.copytree(grown, served)
    added = [scratch / f"{i}.parquet" for i in range(1, n_batches)]
    batches += [affil("add", grown, path, "--quiet") for path in added]
    service = one_process(served, added)
    if agreement(served, grown)["b3_f1"] != 1:
        sys.exit("growth.py: additions by one process gave another partition")
    cost = affil("resolve", scratch / "whole.parquet", "--output", whole, *given)
    return {
        "n_strings": n,
        "n_batches": n_batches,
        "seconds_whole": cost.wall,
        "cpu_seconds_whole": cost.cpu,
        "seconds_batches": [b.wall for b in batches],
        "cpu_seconds_batches": [b.cpu for b in batches],
        "ratio": sum(b.wall for b in batches) / cost.wall,
        "cpu_ratio": sum(b.cpu for b in batches) / cost.cpu,
        **service,
        "ratio_one_process": (batches[0].wall + service["seconds_one_process"]) / cost.wall,
        "cpu_ratio_one_process": (batches[0].cpu + service["cpu_seconds_one_process"]) / cost.cpu,
        "b3_f1_whole": quality(whole, scratch / "whole.parquet"),
        "b3_f1_grown": quality(grown, scratch / "whole.parquet"),
        "stages": json.loads((grown / "manifest.json").read_text())["stages"],
        **agreement(grown, whole),
        **lookups(whole, [text for text, _ in rows[n:]]),
    }


def ends_of(n: int, n_batches: int, first: int | None) -> list[int]:
    """Where each batch of `n` strings ends; but for the first, where it is said, all are as long."""
    first = first or -(-n // n_batches)
    return [*range(first, n, -(-(n - first) // (n_batches - 1))), n]


def table(found: dict[str, Any]) -> str:
    """The figures as lines."""
    batches, busy = (
        " ".join(f"{s:.1f}" for s in found[name]) for name in ("seconds_batches", "cpu_seconds_batches")
    )
    f, own = found, f"(precision {found['b3_precision']:.4f}, recall {found['b3_recall']:.4f})"
    lines = [
        ("whole", f"{f['seconds_whole']:.1f} s"),
        (f"{f['n_batches']} batches", f"{sum(f['seconds_batches']):.1f} s ({batches})"),
        ("of processor time", f"{sum(f['cpu_seconds_batches']):.1f} s ({busy})"),
        ("batches / whole", f"{f['ratio']:.2f}"),
        (
            "of processor time",
            f"{f['cpu_ratio']:.2f} (whole {f['cpu_seconds_whole']:.1f} s)",
        ),
        (
            "by one process",
            f"{f['ratio_one_process']:.2f}, of processor time {f['cpu_ratio_one_process']:.2f}"
            f" (additions {f['seconds_one_process']:.1f} s, {f['cpu_seconds_one_process']:.1f} s)",
        ),
        ("B³ F1 between both", f"{f['b3_f1']:.4f} {own}"),
        ("B³ F1 against gold", f"{f['b3_f1_grown']:.4f} in batches, {f['b3_f1_whole']:.4f} whole"),
        ("index, to make", f"{f['seconds_to_make']:.1f} s, {f['bytes'] / 1e6:,.0f} MB"),
        ("index, to open", f"{f['seconds_to_open']:.4f} s"),
        ("lookup", f"{f['ms_a_string']:.3f} ms a string"),
        ("lookup, all cores", f"{f['cpu_ms_a_string']:.3f} ms of processor time a string"),
    ]
    return "\n".join([f"{f['n_strings']:,} strings", *(f"{name:20} {value}" for name, value in lines)])


def main() -> None:
    """Run the benchmark and print its figures; keep them as JSON where asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--size", type=int, default=20_000)
    options.add_argument("--batches", type=int, default=10)
    options.add_argument("--first", type=int)
    options.add_argument("--lookups", type=int, default=5_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--save", type=Path)
    options.add_argument("options", nargs="*", metavar="OPTIONS")
    given = options.parse_args()
    registry = given.data / "registry" / "ror_records_partial.jsonl.gz"
    if not registry.is_file():
        options.error(f"--data: no registry in {given.data}")
    if not 2 <= given.batches <= given.size:
        options.error(f"--batches must be 2 to {given.size}, got {given.batches}")
    if given.first is not None and not 1 <= given.first < given.size:
        options.error(f"--first must be 1 to {given.size - 1}, got {given.first}")
    n = given.size + max(given.lookups, 20)
    rows = list(synthetic.strings(synthetic.read_institutions(registry), n, given.seed))
    with tempfile.TemporaryDirectory() as scratch:
        ends = ends_of(given.size, given.batches, given.first)
        found = run(rows, ends, given.options, Path(scratch))
    print(table(found))
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"n_cpus": os.cpu_count(), "load": os.getloadavg()[0]} | found, indent=1)
        given.save.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
