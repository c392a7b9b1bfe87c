"""Seconds and peak memory of `affil resolve` on 20,000 distinct strings; needs the labelled data.

python benchmarks/speed.py --data ../shared/data [--save benchmarks/results/speed.json] [--n 20000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Sets whose strings make the file; `leipzig` is left alone.
SETS = (
    "springer_2023_rest",
    "crossref_publisher_train",
    "openalex_gold_openalex_ids",
    "cordis",
    "s2aff_train",
)
SETS += ("openalex_gold_ror", "ror_api_2019", "hfe_french", "ror_api_names", "ror_logs_train", "s2aff_val")


def strings(data: Path, n: int) -> list[str]:
    """The first `n` distinct strings of the labelled sets."""
    found: dict[str, None] = {}
    for name in SETS:
        with (data / "labelled" / f"{name}.jsonl").open(encoding="utf-8") as lines:
            found.update((json.loads(line)["string"], None) for line in lines)
    if len(found) < n:
        sys.exit(f"only {len(found):,} distinct strings in {data}")
    return list(found)[:n]


def main() -> None:
    """Time one whole process and print what it took."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--save", type=Path)
    options.add_argument("--n", type=int, default=20_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "strings.jsonl"
        rows = (json.dumps({"affiliation": s}, ensure_ascii=False) for s in strings(given.data, given.n))
        source.write_text("\n".join(rows) + "\n", encoding="utf-8")
        command = [str(Path(sys.executable).with_name("affil")), "resolve", str(source), "--json"]
        begin = time.perf_counter()
        done = subprocess.run(
            [*command, "--output", f"{scratch}/out"], check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
    manifest = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    found = {
        "n_strings": given.n,
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak),
        "n_cpus": os.cpu_count(),
    }
    print(f"{given.n:,} distinct strings: {seconds:.1f} s, peak {peak:,.0f} MB, {os.cpu_count()} CPU cores")
    for stage in manifest["stages"]:
        print(f"  {stage['name']:12} {stage['seconds']:8.2f} s   peak {stage['peak_memory_mb']:,} MB")
    print("  " + ", ".join(f"{k} {v:,}" for k, v in manifest["counts"].items()))
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(
            json.dumps(found | {"stages": manifest["stages"]}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
