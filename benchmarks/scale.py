"""How seconds and memory grow with the number of strings: synthetic ones, each size in a process of its own.

    python benchmarks/scale.py --data ../shared/data [--size 10000 --size 30000] [--save FILE] [-- OPTIONS]

OPTIONS go to `affil resolve` (such as `-- --encoder built-in`). A stage's memory is the peak of the process
up to its end. The growth exponent is the slope of log seconds over log strings: 1 is linear, 2 quadratic. B³
is that of synthetic strings, whose institutions grow with their number: it shows whether quality holds as
sizes grow, not how good it is on real strings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import synthetic

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
#: A stage below this took too little for its growth to mean anything, in seconds.
SHORTEST = 0.05


def run(strings: Sequence[tuple[str, str]], options: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Strings with their gold and options in; seconds, memory, stages and quality of one process out."""
    import pipeline
    from pipeline.run_folder import read_frames

    source, output = scratch / "strings.parquet", scratch / "run"
    synthetic.write(iter(strings), source)
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(source), "--column", "affiliation"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--output", str(output), "--json", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"scale.py: affil resolve failed on {len(strings):,} strings: {done.stderr.strip()}")
    manifest = json.loads(done.stdout)
    found = pipeline.evaluate(
        read_frames(output).mentions, pipeline.read_gold(source, "affiliation", "cluster"), n_bootstrap=0
    )
    return {
        "n_strings": len(strings),
        "seconds": round(seconds, 2),
        "peak_memory_mb": max(stage["peak_memory_mb"] for stage in manifest["stages"]),
        "stages": manifest["stages"],
        "n_pairs": manifest["counts"]["pairs_proposed"],
        "n_institutions": manifest["counts"]["institutions"],
        **{
            f"b3_{name}": round(found.value(f"b3_{name}") or 0.0, 4) for name in ("precision", "recall", "f1")
        },
    }


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """The slope of log seconds over log sizes; None for one size, or where a run was too short to tell."""
    if len(set(sizes)) < 2 or min(seconds) < SHORTEST:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(taken) for taken in seconds]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    above = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / math.fsum((a - mean_x) ** 2 for a in x)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Runs in ascending size in; a line a stage with its seconds, strings a second and memory out."""
    sizes = [found["n_strings"] for found in runs]
    lines = [f"{'':16}" + "".join(f"{f'{size:,} strings':>38}" for size in sizes) + "   exponent"]
    whole = [{"name": "whole process"} | found for found in runs]
    for parts in [*zip(*(found["stages"] for found in runs), strict=True), whole]:
        seconds = [part["seconds"] for part in parts]
        slope = exponent(sizes, seconds)
        cells = [
            f"{part['seconds']:10.2f} s {size / max(part['seconds'], 1e-3):11,.0f} /s"
            f"{part['peak_memory_mb']:8,} MB"
            for size, part in zip(sizes, parts, strict=True)
        ]
        last = "" if slope is None else f"{slope:11.2f}"
        lines.append(f"{parts[0]['name']:16}" + "".join(f"{cell:>38}" for cell in cells) + last)
    for name in ("n_pairs", "n_institutions", "b3_precision", "b3_recall", "b3_f1"):
        values = (f"{found[name]:,}" if name.startswith("n_") else f"{found[name]:.4f}" for found in runs)
        lines.append(f"{name:16}" + "".join(f"{value:>38}" for value in values))
    return "\n".join(lines)


def main() -> None:
    """Run every size and print the table; keep the figures as JSON where asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--size", type=int, action="append")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--save", type=Path)
    options.add_argument("options", nargs="*", metavar="OPTIONS")
    given = options.parse_args()
    sizes = sorted(set(given.size or (10_000, 30_000)))
    registry = given.data / "registry" / "ror_records_partial.jsonl.gz"
    if sizes[0] < 1:
        options.error(f"--size must be 1 or more, got {sizes[0]}")
    if not registry.is_file():
        options.error(f"--data: no registry in {given.data}")
    rows = list(synthetic.strings(synthetic.read_institutions(registry), sizes[-1], given.seed))
    runs = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(run(rows[:size], given.options, Path(scratch)))
        print(f"{size:,} strings: {runs[-1]['seconds']:.1f} s", file=sys.stderr)
    print(table(runs))
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        found = {"options": given.options, "n_cpus": os.cpu_count(), "seed": given.seed, "runs": runs}
        given.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
