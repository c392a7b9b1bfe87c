"""How seconds and memory grow with the number of strings: synthetic ones, each size in a process of its own.

    python benchmarks/scale.py --data ../shared/data [--size 10000 --size 30000] [--save FILE] [-- OPTIONS]

    python benchmarks/scale.py --data ../shared/data --rows 5000000

OPTIONS go to `affil resolve` (such as `-- --encoder built-in`). Memory is what the command's processes hold:
what they have written and no file has, which the system cannot drop, and for want of which it ends programs.
For a stage it is what the command's own process holds when the stage is over; for the whole the peak of all
processes together, looked at twice a second. `resident` is the peak with mapped files too: pages of them lie
in memory while there is room.
The growth exponent is the slope of log seconds over log strings: 1 is linear, 2 quadratic; that of the CPU
seconds (of all processes) is the one to trust where others work on the machine.
B³ is that of synthetic strings, whose institutions grow with their number: it shows whether quality holds as
sizes grow, not how good it is on real strings. `whole` is the share of strings of large institutions (more
than `LARGE` distinct strings) that lie in the largest cluster of their institution.

With --rows it measures reading and folding of so many rows, drawn from `ROW_STRINGS` strings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import synthetic

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
#: Distinct strings above which an institution is large.
LARGE = 300
#: Distinct strings among the rows of `--rows`.
ROW_STRINGS = 200_000
#: A stage below this took too little for its growth to mean anything, in seconds.
SHORTEST = 0.05


def run(strings: Sequence[tuple[str, str]], options: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Strings with their gold and options in; seconds, memory, stages and quality of one process out."""
    import pandas as pd

    import pipeline

    source, output = scratch / "strings.parquet", scratch / "run"
    synthetic.write(iter(strings), source)
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(source), "--column", "affiliation"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = watched([*command, "--output", str(output), "--json", *options], path)
    if done.returncode:
        sys.exit(f"scale.py: affil resolve failed on {len(strings):,} strings: {done.stderr.strip()}")
    manifest = json.loads(done.stdout)
    # Without the pairs, of which there are many times as many.
    mentions = pd.read_parquet(output / "mentions.parquet")
    found = pipeline.evaluate(mentions, pipeline.read_gold(source, "affiliation", "cluster"), n_bootstrap=0)
    mentions = mentions[mentions["role"] == "main"]
    return {
        "n_strings": len(strings),
        "seconds": round(done.seconds, 2),
        "cpu_seconds": round(done.cpu_seconds, 2),
        "peak_memory_mb": round(done.peak_memory_mb),
        "peak_resident_mb": round(done.peak_resident_mb),
        "neighbours": manifest["neighbours"],
        "stages": manifest["stages"],
        "n_pairs": manifest["counts"]["pairs_proposed"],
        "n_institutions": manifest["counts"]["institutions"],
        **{
            f"b3_{name}": round(found.value(f"b3_{name}") or 0.0, 4) for name in ("precision", "recall", "f1")
        },
        "whole": whole(strings, mentions),
    }


class Watched(NamedTuple):
    """A finished command: what it said, and what all its processes took."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    peak_resident_mb: float


def watched(command: Sequence[str], path: str) -> Watched:
    """Run a command and look at all its processes twice a second."""
    begin, cpu, peak, peak_resident = time.perf_counter(), {}, 0, 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        run = psutil.Popen(command, stdout=out, stderr=err, text=True, env=os.environ | {"PYTHONPATH": path})
        while run.poll() is None:
            memory = resident = 0
            with suppress(psutil.NoSuchProcess):
                for process in (run, *run.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        held, in_all = memory_of(process)
                        memory, resident = memory + held, resident + in_all
                        times = process.cpu_times()
                        cpu[process.pid] = times.user + times.system
            peak, peak_resident = max(peak, memory), max(peak_resident, resident)
            time.sleep(0.5)
        seconds = time.perf_counter() - begin
        for stream in (out, err):
            stream.seek(0)
        taken = seconds, sum(cpu.values()), peak / 1e6, peak_resident / 1e6
        return Watched(run.returncode, out.read(), err.read(), *taken)


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Bytes that a process holds and no file has, and all that it has in memory; off Linux that twice."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return (process.memory_info().rss,) * 2
    found = dict(re.findall(r"^(VmRSS|RssAnon|RssShmem):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
    size = {name: int(number) * 1024 for name, number in found.items()}
    return size.get("RssAnon", 0) + size.get("RssShmem", 0), size.get("VmRSS", 0)


def whole(strings: Sequence[tuple[str, str]], mentions: Any) -> float | None:
    """Share of large institutions' strings in the largest cluster of their institution; None without any."""
    entity = dict(zip(mentions["affiliation"], mentions["entity_id"], strict=True))
    parts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, institution in strings:
        parts[institution][entity.get(text, text)] += 1
    large = [part for part in parts.values() if part.total() > LARGE]
    if not large:
        return None
    return round(sum(max(part.values()) for part in large) / sum(part.total() for part in large), 4)


def rows(data: Path, n_rows: int, seed: int) -> None:
    """Print what reading and folding many rows of few strings take."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    registry = data / "registry" / "ror_records_partial.jsonl.gz"
    drawn = synthetic.strings(synthetic.read_institutions(registry), ROW_STRINGS, seed)
    strings = pa.array([text for text, _ in drawn])
    weight = 1 / (np.arange(ROW_STRINGS) + synthetic.OFFSET) ** synthetic.EXPONENT
    number = np.random.default_rng(seed).choice(ROW_STRINGS, n_rows, p=weight / weight.sum())
    program = (
        "import sys; from pathlib import Path; from pipeline.reading import ReadingSettings, stage_rows\n"
        "from pipeline.folding import fold_rows\n"
        "reading = ReadingSettings(column='affiliation')\n"
        "rows = stage_rows([sys.argv[1]], Path(sys.argv[1] + '.rows'), reading)\n"
        "print(len(fold_rows(rows).affiliations))"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("rows.parquet", "rows.csv"):
            table = pa.table({"id": np.arange(n_rows), "affiliation": strings.take(pa.array(number))})
            source = Path(scratch) / name
            pq.write_table(table, source) if name.endswith("parquet") else pa.csv.write_csv(table, source)
            done = watched([sys.executable, "-c", program, str(source)], str(ROOT))
            if done.returncode:
                sys.exit(f"scale.py: reading failed: {done.stderr.strip()}")
            # DuckDB may draw a bar before it, as it does where there is no script.
            n_strings = int(done.stdout.split()[-1])
            print(
                f"{name:14} {n_rows:,} rows to {n_strings:,} strings: {done.seconds:.1f} s,"
                f" {done.cpu_seconds:.1f} CPU s, {done.peak_memory_mb:,.0f} MB"
            )


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """The slope of log seconds over log sizes; None for one size, or where a run was too short to tell."""
    if len(set(sizes)) < 2 or min(seconds) < SHORTEST:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(taken) for taken in seconds]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    above = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / math.fsum((a - mean_x) ** 2 for a in x)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Runs in ascending size in; a line a stage with its seconds, strings a second and memory out.

    Last how seconds grow, and how many more bytes are held for each string between the two largest sizes.
    """
    sizes = [found["n_strings"] for found in runs]
    head = "".join(f"{f'{size:,} strings':>38}" for size in sizes)
    lines = [f"{'':16}{head}   exponent   B a string"]
    whole = [{"name": "whole process"} | found for found in runs]
    for parts in [*zip(*(found["stages"] for found in runs), strict=True), whole]:
        seconds = [part["seconds"] for part in parts]
        held = [part.get("held_memory_mb") or part["peak_memory_mb"] for part in parts]
        slope = exponent(sizes, seconds)
        cells = [
            f"{part['seconds']:10.2f} s {size / max(part['seconds'], 1e-3):11,.0f} /s{memory:8,} MB"
            for size, part, memory in zip(sizes, parts, held, strict=True)
        ]
        last = f"{'' if slope is None else f'{slope:.2f}':>11}"
        if len(sizes) > 1:
            last += f"{1e6 * (held[-1] - held[-2]) / (sizes[-1] - sizes[-2]):13,.0f}"
        lines.append(f"{parts[0]['name']:16}" + "".join(f"{cell:>38}" for cell in cells) + last)
    resident = (f"{found['peak_resident_mb']:,} MB" for found in runs)
    lines.append(f"{'resident':16}" + "".join(f"{cell:>38}" for cell in resident))
    cpu = [found["cpu_seconds"] for found in runs]
    slope = exponent(sizes, cpu)
    last = "" if slope is None else f"{slope:11.2f}"
    lines.append(f"{'CPU seconds':16}" + "".join(f"{f'{taken:,.1f} s':>38}" for taken in cpu) + last)
    for name in ("n_pairs", "n_institutions", "b3_precision", "b3_recall", "b3_f1", "whole"):
        values = (
            f"{found[name]:,}" if name.startswith("n_") else f"{found[name] or math.nan:.4f}"
            for found in runs
        )
        lines.append(f"{name:16}" + "".join(f"{value:>38}" for value in values))
    return "\n".join(lines)


def main() -> None:
    """Run every size and print the table; keep the figures as JSON where asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--size", type=int, action="append")
    options.add_argument("--rows", type=int)
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
    if given.rows:
        rows(given.data, given.rows, given.seed)
        return
    drawn = list(synthetic.strings(synthetic.read_institutions(registry), sizes[-1], given.seed))
    runs = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            runs.append(run(drawn[:size], given.options, Path(scratch)))
        print(f"{size:,} strings: {runs[-1]['seconds']:.1f} s", file=sys.stderr)
    print(table(runs))
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        found = {"options": given.options, "n_cpus": os.cpu_count(), "seed": given.seed, "runs": runs}
        given.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
