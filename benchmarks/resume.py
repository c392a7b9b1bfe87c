"""Runs killed at random moments, and gone on with: is the result that of a run that nobody disturbed?

    python benchmarks/resume.py [--strings 2000] [--kills 20] [--seed 0] [--save FILE] [-- OPTIONS]

Each time, `affil resolve` is killed (SIGKILL) at a random moment between its start and the time that an
undisturbed run takes, then the same command is run again. Every table must come out byte for byte as from the
undisturbed run, and what was finished when it was killed must not be run again. Exit code 1 where that fails.
OPTIONS go to `affil resolve`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
#: Before every string of the example but the first times that they are taken.
DEPARTMENTS = ("Department of Physics", "Faculty of Medicine", "School of Law", "Institute of Chemistry")


@dataclass(frozen=True)
class Kill:
    """What became of one run that was killed.

    Attributes:
        after: seconds from its start to its end.
        n_finished: stages that were finished by then.
        seconds: of the run that went on.
        n_reused: stages that it did not run again.
        differing: files that are not those of the undisturbed run.
    """

    after: float
    n_finished: int
    seconds: float
    n_reused: int
    differing: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether the result is that of an undisturbed run, and nothing was done twice."""
        return not self.differing and self.n_reused >= self.n_finished


def write_strings(path: Path, n_strings: int) -> None:
    """The strings of the example, with departments before them once they run out, as CSV."""
    with (ROOT / "examples" / "affiliations.csv").open(encoding="utf-8", newline="") as file:
        known = [row["affiliation"] for row in csv.DictReader(file)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["affiliation"])
        for number in range(n_strings):
            turn, place = divmod(number, len(known))
            before = f"{DEPARTMENTS[(turn - 1) % len(DEPARTMENTS)]} {turn}, " if turn else ""
            writer.writerow([before + known[place]])


def start(source: Path, output: Path, options: Sequence[str]) -> subprocess.Popen[str]:
    """`affil resolve` as a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "resolve", str(source), "--output", str(output)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(
        [*command, "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], float]:
    """The manifest that a process prints, and the seconds that it took from now on."""
    begin = time.perf_counter()
    printed, errors = process.communicate()
    if process.returncode:
        sys.exit(f"resume.py: affil resolve failed: {errors.strip()}")
    return json.loads(printed), time.perf_counter() - begin


def differing(run: Path, other: Path) -> tuple[str, ...]:
    """Tables that two run folders do not have byte for byte alike."""
    files = [
        {p.name for p in folder.iterdir() if p.suffix in (".parquet", ".csv")} for folder in (run, other)
    ]
    both = files[0] & files[1]
    unequal = {name for name in both if (run / name).read_bytes() != (other / name).read_bytes()}
    return tuple(sorted(unequal | (files[0] ^ files[1])))


def kills(
    n_strings: int, n_kills: int, folder: Path, *, seed: int | None = 0, options: Sequence[str] = ()
) -> list[Kill]:
    """As many runs killed at random moments, each gone on with, against one that was not disturbed."""
    from pipeline.checkpoints import finished_stages

    source, whole = folder / "strings.csv", folder / "whole"
    write_strings(source, n_strings)
    _, seconds = finish(start(source, whole, options))
    chance, found = random.Random(seed), list[Kill]()
    while len(found) < n_kills:
        output = folder / f"run{len(found)}"
        after = chance.uniform(0, seconds)
        process = start(source, output, options)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        if process.returncode == 0:  # It was faster than the undisturbed one: this moment shows nothing.
            continue
        n_finished = len(finished_stages(folder / f".{output.name}.partial" / "stages"))
        manifest, took = finish(start(source, output, options))
        n_reused = sum(stage["is_reused"] for stage in manifest["stages"])
        leftover = tuple(p.name for p in folder.iterdir() if p.name.startswith("."))
        found.append(Kill(after, n_finished, took, n_reused, (*differing(whole, output), *leftover)))
    return found


def main() -> None:
    """Kill, go on, compare; print a line each."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--strings", type=int, default=2000)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--save", type=Path)
    options.add_argument("options", nargs="*", metavar="OPTIONS")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = kills(given.strings, given.kills, Path(scratch), seed=given.seed, options=given.options)
    print("killed after   stages finished   not run again   seconds to go on   the same result")
    for kill in found:
        same = "yes" if kill.is_good else f"NO: {', '.join(kill.differing) or 'stages were run again'}"
        print(f"{kill.after:10.2f} s{kill.n_finished:18}{kill.n_reused:16}{kill.seconds:17.2f} s   {same}")
    n_good = sum(kill.is_good for kill in found)
    print(f"{n_good} of {len(found)} killed runs gave what an undisturbed run gives")
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        kept = {"n_strings": given.strings, "seed": given.seed, "kills": [asdict(kill) for kill in found]}
        given.save.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    sys.exit(n_good < len(found))


if __name__ == "__main__":
    main()
