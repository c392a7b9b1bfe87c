"""The same synthetic strings by both engines: whether the results are equal, and what each takes.

    python benchmarks/ray_engine.py --data ../shared/data [--size N] [--nodes N] [--save FILE] [-- OPTIONS]

A Ray cluster of so many nodes of one core each is started on this machine for the run. Seconds are those of
the command (the start of the cluster is none of them). CPU seconds and memory are those of all processes, the
cluster's too; memory that processes share is counted for each. On one machine Ray can only cost: what it adds
is what there is to see.

    python benchmarks/ray_engine.py --data ../shared/data --shares [--size N]

prints instead how much of the CPU time is work in parts, which other machines can do, and how much is left to
the machine of the command, all on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
from scale import watched

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
#: Memory of a node for what its processes share, in bytes.
STORE = 1 << 30


def on_a_cluster(n_nodes: int, command: Sequence[str]) -> int:
    """Run `affil resolve` on a cluster that is there for it; print what it says, and its seconds."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    for _ in range(n_nodes - 1):
        cluster.add_node(**node)
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--engine", "ray", "--ray-address", cluster.address], stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - begin
    cluster.shutdown()
    if done.returncode == 0:
        print(json.dumps(json.loads(done.stdout) | {"command_seconds": seconds}))
    return done.returncode


def run(source: Path, output: Path, options: Sequence[str], n_nodes: int) -> dict[str, Any]:
    """Strings to the figures of one run; on no nodes it is the local engine's."""
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(source), "--column", "affiliation"]
    command += ["--output", str(output), "--json", *options]
    if n_nodes:
        command = [sys.executable, str(Path(__file__)), "--on-a-cluster", str(n_nodes), "--", *command]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = watched(command, path)
    if done.returncode:
        sys.exit(f"ray_engine.py: affil resolve failed: {done.stderr.strip()}")
    manifest = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "engine": manifest["engine"],
        "seconds": round(manifest.get("command_seconds", done.seconds), 1),
        "cpu_seconds": round(done.cpu_seconds, 1),
        "peak_memory_mb": round(done.peak_memory_mb),
        "stages": {stage["name"]: stage["seconds"] for stage in manifest["stages"]},
    }


#: Functions to the phases that they are of.
PHASES = {
    "_clean_chunk": "clean",
    "_parse_chunk": "parse",
    "_normalize_chunk": "normalize",
    "_encode": "embedding",
    "_ask": "search",
    "_ask_exactly": "search",
    "_best": "search",
    "_logits": "scoring",
    "_rescored": "rescoring",
    "_linked": "linkage",
}


def kind(work: Any) -> str:
    """The phase of a piece of work, which may be wrapped in what hands it its settings."""
    while isinstance(work, partial):
        work = work.args[0] if work.args else work.func
    return PHASES.get(work.__name__, work.__name__)


class Timed:
    """The local engine, with the CPU seconds of each kind of work."""

    description = "timed"

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def map(
        self, work: Any, state: Any, parts: Any, cut: Any, *, on_gpu: bool = False, on_progress: Any = None
    ) -> Iterator[Any]:
        """As `Engine.map`."""
        name = kind(work)
        for part in parts:
            own, begin = cut(part), time.process_time()
            found = work(state, own, None)
            self.seconds[name] += time.process_time() - begin
            yield found


def shares(source: Path) -> None:
    """Print the CPU seconds of the kinds of work in parts, and of all the rest."""
    from blocking import engine
    from pipeline.job import run_job
    from pipeline.reading import ReadingSettings

    os.environ["AFFIL_WORKERS"] = os.environ["OMP_NUM_THREADS"] = "1"
    timed, begin = Timed(), time.process_time()
    with engine.use(timed), tempfile.TemporaryDirectory() as scratch:
        run_job([str(source)], Path(scratch) / "run", reading=ReadingSettings(column="affiliation"))
    total = time.process_time() - begin
    print("| work | CPU seconds | share |\n|---|---|---|")
    for name, seconds in [*timed.seconds.most_common(), ("the rest", total - timed.seconds.total())]:
        print(f"| {name} | {seconds:.1f} | {seconds / total:.1%} |")


def differences(one: Path, other: Path) -> dict[str, Any]:
    """Two run folders to how their results differ."""
    from pipeline.run_folder import read_frames

    a, b = read_frames(one), read_frames(other)
    ends = ["left_mention_id", "right_mention_id"]
    is_same = len(a.pairs) == len(b.pairs) and all(
        np.array_equal(a.pairs[end].astype(str), b.pairs[end].astype(str)) for end in ends
    )
    largest = np.abs(a.pairs["probability"] - b.pairs["probability"]).max() if is_same else None
    ids = ["mention_id", "entity_id"]
    return {
        "n_pairs": len(a.pairs),
        "same_pairs": is_same,
        "largest_difference_of_probabilities": None if largest is None else float(largest),
        "n_institutions": len(a.institutions),
        "same_partition_and_ids": a.mentions[ids].equals(b.mentions[ids]),
    }


def main() -> None:
    """Run both and print what differs and what they took."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path)
    options.add_argument("--size", type=int, default=100_000)
    options.add_argument("--nodes", type=int, default=2)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--save", type=Path)
    options.add_argument("--shares", action="store_true")
    options.add_argument("--on-a-cluster", type=int, help=argparse.SUPPRESS)
    options.add_argument("options", nargs="*", metavar="OPTIONS")
    given = options.parse_args()
    if given.on_a_cluster:
        sys.exit(on_a_cluster(given.on_a_cluster, given.options))
    registry = given.data / "registry" / "ror_records_partial.jsonl.gz" if given.data else None
    if registry is None or not registry.is_file():
        options.error(f"--data: no registry in {given.data}")
    if given.size < 1 or given.nodes < 1:
        options.error("--size and --nodes must be 1 or more")
    with tempfile.TemporaryDirectory() as scratch:
        source, outputs = Path(scratch) / "strings.parquet", [Path(scratch) / name for name in ("one", "two")]
        synthetic.write(
            synthetic.strings(synthetic.read_institutions(registry), given.size, given.seed), source
        )
        if given.shares:
            shares(source)
            return
        runs = [
            run(source, output, given.options, n) for output, n in zip(outputs, (0, given.nodes), strict=True)
        ]
        found = differences(*outputs)
    print("| engine | seconds | CPU seconds | peak memory of all processes, MB |\n|---|---|---|---|")
    for one in runs:
        print(f"| {one['engine']} | {one['seconds']} | {one['cpu_seconds']} | {one['peak_memory_mb']:,} |")
    print(json.dumps(found, indent=1))
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        kept = {"n_strings": given.size, "n_cpus": os.cpu_count(), "seed": given.seed, "runs": runs} | found
        given.save.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
