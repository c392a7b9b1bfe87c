"""This project beside other tools: quality, seconds and memory on the same strings, one process each.

    python benchmarks/peers.py --data ../shared/data [--sets leipzig test synthetic-20000]
        [--peers dedupe ours] [--resume] [--write]

Each peer runs in an environment of its own (`--environments`, made where it is missing) by a script of its
own (`benchmarks/peers/`). Its setting is the best of those that its documentation offers by B³ F1 on the tune
fold, which our own threshold was chosen on too. Seconds are those of the whole process, from start to written
clusters; memory is the peak, sampled, of the resident sets of all its processes together. A peer that takes
longer or more than the limits is stopped and reported so. `--write` puts the tables into docs/peers.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE), str(HERE / "peers")]

import quality  # noqa: E402
import synthetic  # noqa: E402
from processes import Limits, python_of, watched  # noqa: E402
from protocol import read_output, write_input  # noqa: E402
from table import BEGIN, END  # noqa: E402
from tools import OURS, PEERS, WITHOUT_NAMES, Peer, choose  # noqa: E402

import pipeline  # noqa: E402
from pipeline.evaluation import Gold  # noqa: E402
from pipeline.writing import write_json, write_text  # noqa: E402

SETS = ("leipzig", "test", "synthetic-20000", "synthetic-100000")
TITLES = {
    "leipzig": "`leipzig`, which no threshold was chosen on",
    "test": "test fold",
    "tune": "tune fold (settings were chosen on it)",
}


def run_peer(
    peer: Peer, gold: Gold, setting: dict[str, Any], environments: Path, limits: Limits
) -> dict[str, Any]:
    """A peer and labelled strings in; status, seconds, memory and measures of its run out."""
    found: dict[str, Any] = {"setting": setting}
    python = Path(sys.executable)
    try:
        if peer.requirements:
            python = python_of(environments / peer.name, peer.requirements)
    except RuntimeError as error:
        return found | {"status": "not installed", "error": str(error)}
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        scratch = Path(name)
        source, target = scratch / "strings.jsonl", scratch / "clusters"
        labels = [label[0] for label in gold.labels] if peer.needs_labels else None
        write_input(source, gold.affiliation, labels)
        if peer.script is None:
            command = [str(python), "-m", "pipeline.cli", "resolve", str(source), "--column", "string"]
            command += ["--id-column", "id", "--output", str(target), "--quiet"]
            if setting:
                own = [f"{name} = {json.dumps(value)}" for name, value in setting.items()]
                write_text("\n".join([*own, ""]), scratch / "settings.toml")
                command += ["--settings", str(scratch / "settings.toml")]
        else:
            script = HERE / "peers" / f"{peer.script}.py"
            command = [str(python), str(script), str(source), str(target), json.dumps(setting)]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        run = watched(command, limits, scratch, PYTHONPATH="" if peer.requirements else path)
        found |= {
            "status": run.status,
            "seconds": round(run.seconds, 2),
            "peak_memory_mb": run.peak_memory_mb,
        }
        if run.status == "failed":
            said = (run.error.strip().splitlines() or ["no message"])[-1][:300]
            # What asks for more than there is, is refused before it has it.
            return found | ({"status": "memory"} if "MemoryError" in said else {}) | {"error": said}
        if run.status != "ok":
            return found
        if peer.script is None:
            clusters, version = entities(target / "resolved.csv"), metadata.version("affiliation-resolver")
        else:
            clusters = read_output(target, len(gold))
            version = json.loads(run.output.strip().splitlines()[-1])["version"]
        return found | {"version": version, "n_clusters": len(set(clusters))} | measured(clusters, gold)


def entities(resolved: Path) -> list[str]:
    """Our resolved table to a cluster for each row; what was set aside stands alone."""
    with resolved.open(encoding="utf-8", newline="") as file:
        return [row["entity_id"] or f"aside {n}" for n, row in enumerate(csv.DictReader(file))]


def measured(clusters: Sequence[str], gold: Gold) -> dict[str, float]:
    """Clusters of the gold strings, in their order, to pairwise and B³ measures."""
    import pandas as pd

    frame = pd.DataFrame({"affiliation": gold.affiliation, "entity_id": clusters, "role": "main"})
    found = pipeline.evaluate(frame, gold, n_bootstrap=0)
    return {name: round(found.value(name) or 0.0, 4) for name in quality.MEASURES}


def labelled(name: str, data: Path) -> Gold:
    """The name of a set to its strings and labels.

    Raises:
        SystemExit: there is no such set.
    """
    kind, _, size = name.partition("-")
    if kind == "synthetic" and size.isdigit():
        registry = data / "registry" / "ror_records_partial.jsonl.gz"
        rows = list(synthetic.strings(synthetic.read_institutions(registry), int(size)))
        return Gold([string for string, _ in rows], [(label,) for _, label in rows])
    if name == "leipzig":
        return quality.leipzig(data)
    if name in ("test", "tune"):
        return quality.fold(data, name)
    sys.exit(f"peers.py: no set {name!r}; there are leipzig, test, tune, synthetic-N")


def main() -> None:
    """Choose settings where they are not known, run the peers, print and save."""
    given = _arguments()
    results: dict[str, Any] = {"choices": {}, "sets": {}}
    if given.save.exists():
        results |= json.loads(given.save.read_text(encoding="utf-8"))
    limits = Limits(given.seconds, given.gigabytes)
    peers = [PEERS[name] for name in given.peers]

    def run(peer: Peer, gold: Gold, setting: dict[str, Any], name: str) -> dict[str, Any]:
        print(f"{name}: {peer.name} {json.dumps(setting)}", file=sys.stderr, flush=True)
        return run_peer(peer, gold, setting, given.environments, limits)

    def save() -> None:
        memory = round(psutil.virtual_memory().total / 1e9)
        write_json(results | {"n_cpus": os.cpu_count(), "memory_gb": memory}, given.save)

    for peer in peers:
        known = [] if given.choose else results["choices"].get(peer.name, [])
        missing = [s for s in peer.settings if s not in [run["setting"] for run in known]]
        if len(peer.settings) > 1 and missing:
            gold = labelled("tune", given.data)
            results["choices"][peer.name] = known + [run(peer, gold, s, "tune, to choose") for s in missing]
            save()
    for name in given.sets:
        gold = labelled(name, given.data)
        own = results["sets"].setdefault(name, {"n_strings": len(gold), "peers": {}})
        for peer in peers:
            setting = choose(peer, results["choices"].get(peer.name, ()))
            if given.resume and own["peers"].get(peer.name, {}).get("setting") == setting:
                continue
            own["peers"][peer.name] = run(peer, gold, setting, name)
            save()
    print(table(results))
    if given.write:
        page = ROOT / "docs" / "peers.md"
        write_text(with_table(page.read_text(encoding="utf-8"), results), page)


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument(
        "--sets", nargs="*", default=SETS, metavar="SET", help="leipzig, test, tune, synthetic-N"
    )
    options.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS, metavar="PEER")
    options.add_argument("--environments", type=Path, default=ROOT / "out" / "peers")
    options.add_argument("--save", type=Path, default=HERE / "results" / "peers.json")
    options.add_argument("--resume", action="store_true", help="leave out what was run at the same setting")
    options.add_argument("--choose", action="store_true", help="choose the settings again")
    options.add_argument("--write", action="store_true", help="put the tables into docs/peers.md")
    options.add_argument("--seconds", type=float, default=Limits.seconds, help="at most so long a run")
    options.add_argument("--gigabytes", type=float, default=Limits.gigabytes, help="at most so much a run")
    given = options.parse_args()
    # Commands run elsewhere.
    given.environments = given.environments.absolute()
    return given


def table(results: dict[str, Any]) -> str:
    """Saved results as Markdown, a table a set, the best B³ F1 first."""
    lines: list[str] = []
    for name, found in results["sets"].items():
        title = TITLES.get(name, f"synthetic strings, {found['n_strings']:,}")
        lines += [f"### {title[0].upper()}{title[1:]}", "", f"{found['n_strings']:,} strings.", ""]
        lines += [
            "| method | setting | pairwise F1 | B³ F1 | seconds | memory |",
            "|---|---|---|---|---|---|",
        ]
        rows = sorted(found["peers"].items(), key=lambda item: -item[1].get("b3_f1", -1.0))
        lines += [_line(PEERS[peer].title, run) for peer, run in rows if peer in PEERS]
        lines += ["", *_summary(found["peers"])]
    return "\n".join([*lines, *_choices(results["choices"])]).rstrip("\n") + "\n"


def _choices(choices: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What each setting gave on the tune fold, as a section; nothing where none was tried."""
    if not choices:
        return []
    lines = ["### Settings tried on the tune fold", "", "The one in bold is used.", ""]
    lines += ["| method | setting → pairwise F1 / B³ F1 |", "|---|---|"]
    for name, peer in PEERS.items():
        chosen, cells = choose(peer, choices.get(name, ())), []
        for run in choices.get(name, ()):
            found = f"{run['pair_f1']:.3f} / {run['b3_f1']:.3f}" if run["status"] == "ok" else run["status"]
            cell = f"{_shown(run['setting'])} → {found}"
            if run["setting"] in peer.settings:
                cells.append(f"**{cell}**" if run["setting"] == chosen else cell)
        if cells:
            lines.append(f"| {peer.title} | {'; '.join(cells)} |")
    return lines


def _shown(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in setting.items()).replace('"', "")


def _line(title: str, run: dict[str, Any]) -> str:
    chosen = _shown(run["setting"])
    version = f" {run['version']}" if run.get("version") else ""
    head = f"| {title}{version} | {chosen or 'defaults'} "
    if run["status"] == "ok":
        memory = f"{run['peak_memory_mb']:,} MB"
        return f"{head}| {run['pair_f1']:.3f} | {run['b3_f1']:.3f} | {run['seconds']:,.1f} | {memory} |"
    why = {"time": "stopped: too long", "memory": "stopped: too much memory"}.get(
        run["status"], run["status"]
    )
    taken = f"{run['seconds']:,.0f} | {run['peak_memory_mb']:,} MB" if "seconds" in run else " | "
    return f"{head}| {why} | | {taken} |"


def _summary(runs: dict[str, Any]) -> list[str]:
    """Which peers are near ours in quality and faster."""
    ours = runs.get(OURS, {})
    if ours.get("status") != "ok":
        return []
    others = {n: r for n, r in runs.items() if n not in (OURS, WITHOUT_NAMES)}
    near = [n for n, r in others.items() if r.get("b3_f1", 0.0) >= ours["b3_f1"] - 0.1]
    faster = [PEERS[n].title for n in near if n in PEERS and runs[n]["seconds"] < ours["seconds"]]
    return [f"Within .10 B³ F1 of ours, or above, and faster: {', '.join(faster) or 'none'}.", ""]


def with_table(page: str, results: dict[str, Any]) -> str:
    """The page with the tables between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(results) + END + after


if __name__ == "__main__":
    main()
