"""The comparison with other tools: what they are told and answer, and what is done with those that fail."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import Gold

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "peers")]
import fingerprint  # noqa: E402
import peers  # noqa: E402
import protocol  # noqa: E402
from processes import Limits, Watched, python_of, watched  # noqa: E402

ENVIRONMENTS = ROOT / "out" / "peers"
LIMITS = Limits(120, 4)
#: B³ F1 that those of our own Python reach at least.
LEAST = {"ours": 0.8, "tfidf": 0.5, "fingerprint": 0.2}


@pytest.fixture(scope="module")
def gold() -> Gold:
    """200 strings of the example."""
    with (ROOT / "examples" / "affiliations.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["institution"] and row["affiliation"].strip()]
    chosen = {row["affiliation"]: (row["institution"].split("|")[0],) for row in rows}
    return Gold(list(chosen)[:200], list(chosen.values())[:200])


def quick(peer: peers.Peer) -> dict[str, Any]:
    """A setting that takes little time."""
    return peer.settings[0] | ({"n_labels": 15} if peer.needs_labels else {})


def pair_f1(clusters: Sequence[str], labels: Sequence[str]) -> float:
    """Pairwise F1 by looking at every pair."""
    n = range(len(labels))
    mine = {(a, b) for a in n for b in n if a < b and clusters[a] == clusters[b]}
    theirs = {(a, b) for a in n for b in n if a < b and labels[a] == labels[b]}
    return 2 * len(mine & theirs) / (len(mine) + len(theirs))


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_a_peer_answers_for_every_string(name: str, gold: Gold) -> None:
    peer = peers.PEERS[name]
    if peer.requirements and not (ENVIRONMENTS / name / ".installed").exists():
        pytest.skip(f"{name} has no environment in out/peers; benchmarks/peers.py makes it")
    found = peers.run_peer(peer, gold, quick(peer), ENVIRONMENTS, LIMITS)
    assert found["status"] == "ok", found
    assert 1 < found["n_clusters"] <= len(gold)
    assert LEAST.get(name, 0) < found["b3_f1"] <= 1 and found["seconds"] > 0 and found["peak_memory_mb"] > 5
    assert found["version"] or name in ("fingerprint", "tfidf")


def test_measures_are_those_of_every_pair(gold: Gold) -> None:
    clusters = [fingerprint.fingerprint(string)[:8] for string in gold.affiliation]
    labels = [label for (label,) in gold.labels]
    found = peers.measured(clusters, gold)
    assert found["pair_f1"] == pytest.approx(pair_f1(clusters, labels), abs=1e-4)


def test_strings_come_through_the_protocol_as_they_are(tmp_path: Path) -> None:
    strings = ["two\nlines", "\u2028", '"quoted"', "", "جامعة", "=1"]
    protocol.write_input(tmp_path / "in", strings, list("abcdef"))
    rows = [json.loads(line) for line in (tmp_path / "in").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [row["string"] for row in rows] == strings and [row["label"] for row in rows] == list("abcdef")
    (tmp_path / "out").write_text("".join(f'{{"id": {n}, "cluster": {n // 2}}}\n' for n in (2, 0, 1, 3)))
    assert protocol.read_output(tmp_path / "out", 4) == ["0", "0", "1", "1"]
    for n in (3, 5):
        with pytest.raises(ValueError, match="4 answers, 4 different ones, for"):
            protocol.read_output(tmp_path / "out", n)
    (tmp_path / "out").write_text('{"id": 0, "cluster": 1}\n' * 2)
    with pytest.raises(ValueError, match="2 answers, 1 different ones"):
        protocol.read_output(tmp_path / "out", 2)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32))
def test_components_are_those_of_networkx(n: int, seed: int) -> None:
    rng = random.Random(seed)
    pairs = [(rng.randrange(n), rng.randrange(n)) for _ in range(rng.randrange(40))]
    graph = nx.Graph(pairs)
    graph.add_nodes_from(range(n))
    found = protocol.components(n, [a for a, _ in pairs], [b for _, b in pairs])
    assert found == [min(nx.node_connected_component(graph, number)) for number in range(n)]


def test_fingerprints_are_those_of_the_documentation() -> None:
    assert (
        fingerprint.fingerprint("  Tom  CRUISE, ") == fingerprint.fingerprint("Cruise, Tom") == "cruise tom"
    )
    assert fingerprint.fingerprint("Gödel straße") == "godel strasse"
    assert fingerprint.ngram_fingerprint("Paris", 2) == "arispari"
    assert fingerprint.ngram_fingerprint("Paris", 1) == "aiprs"
    assert fingerprint.ngram_fingerprint("x", 2) == "x"


def test_what_goes_beyond_the_limits_is_stopped_with_all_its_processes(tmp_path: Path) -> None:
    child = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    )
    slow = [sys.executable, "-c", f"{child} print(p.pid, flush=True); p.wait()"]
    begin = time.perf_counter()
    found = watched(slow, Limits(1.0, 1), tmp_path)
    assert found.status == "time" and time.perf_counter() - begin < 20
    time.sleep(0.2)
    left = int(found.output)
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    hungry = [sys.executable, "-c", "import time; x = bytearray(b'x') * 300_000_000; time.sleep(60)"]
    found = watched(hungry, Limits(60, 0.2), tmp_path)
    assert found.status == "memory" and found.peak_memory_mb > 200
    # What a child holds counts.
    parent = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hungry[2]!r}])",
    ]
    assert watched(parent, Limits(60, 0.2), tmp_path).status == "memory"


def test_a_failure_is_told_by_its_last_line(
    gold: Gold, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = peers.run_peer(peers.PEERS["tfidf"], gold, {"cut": "x"}, tmp_path, LIMITS)
    assert found["status"] == "failed" and "Error" in found["error"]
    assert "b3_f1" not in found
    monkeypatch.setattr(
        peers, "watched", lambda *_, **__: Watched("failed", 1.0, 5, "", "x\nMemoryError: y\n")
    )
    found = peers.run_peer(peers.PEERS["tfidf"], gold, {"cut": 0.6}, tmp_path, LIMITS)
    assert found["status"] == "memory" and found["error"] == "MemoryError: y"
    pins = tmp_path / "none.txt"
    pins.write_text("no-such-package-at-all==0\n")
    monkeypatch.setattr(peers.Peer, "requirements", property(lambda _: pins))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = peers.run_peer(peers.PEERS["splink"], gold, {}, tmp_path, LIMITS)
    assert found["status"] == "not installed" and "no-such-package" in found["error"]


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins, made = tmp_path / "pins.txt", []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        made.append(command)
        (tmp_path / "env").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", run)
    for text, n in (("numpy==1", 2), ("numpy==1", 2), ("numpy==2", 4)):
        pins.write_text(text)
        assert python_of(tmp_path / "env", pins) == tmp_path / "env" / "bin" / "python"
        assert len(made) == n
    assert "venv" in made[0] and made[1][-2:] == ["--requirement", str(pins)]


def test_the_setting_is_the_best_that_came_through() -> None:
    peer = peers.PEERS["tfidf"]
    runs = [
        {"status": "ok", "b3_f1": 0.5, "setting": peer.settings[1]},
        {"status": "time", "setting": peer.settings[2]},
        {"status": "ok", "b3_f1": 0.7, "setting": peer.settings[3]},
        {"status": "ok", "b3_f1": 0.9, "setting": {"cut": "no longer tried"}},
    ]
    assert peers.choose(peer, runs) == peer.settings[3]
    assert peers.choose(peer, runs[1:2]) == peers.choose(peer, []) == peer.settings[0]


def test_a_run_of_the_command_is_saved_and_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"University of {name}" for name in ("Oslo", "Bergen", "Bonn")]
    gold = Gold([f"{name}, {n}" for name in names for n in "abc"], [(name,) for name in names for _ in "abc"])
    asked = []
    monkeypatch.setattr(peers, "labelled", lambda name, _: asked.append(name) or gold)
    saved = tmp_path / "peers.json"
    arguments = [
        "peers.py",
        "--data",
        "x",
        "--sets",
        "leipzig",
        "--peers",
        "fingerprint",
        "--save",
        str(saved),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    peers.main()
    first = json.loads(saved.read_text())
    assert asked == ["tune", "leipzig"]
    assert [run["status"] for run in first["choices"]["fingerprint"]] == ["ok"] * 3
    assert first["sets"]["leipzig"]["peers"]["fingerprint"]["status"] == "ok"
    monkeypatch.setattr(peers, "run_peer", lambda *_: pytest.fail("run again"))
    monkeypatch.setattr(sys, "argv", [*arguments, "--resume"])
    peers.main()
    assert json.loads(saved.read_text()) == first


def test_the_page_is_that_of_the_saved_results() -> None:
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    saved = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text(encoding="utf-8"))
    assert page == peers.with_table(page, saved)


def test_failures_have_their_line_in_the_table() -> None:
    ok = {"status": "ok", "pair_f1": 0.5, "b3_f1": 0.8, "seconds": 9.0, "peak_memory_mb": 100, "setting": {}}
    runs = {
        "ours": ok | {"b3_f1": 0.85, "version": "1"},
        "tfidf": ok | {"setting": {"cut": 0.6}, "seconds": 2.0},
        "dedupe": {"status": "time", "seconds": 900.2, "peak_memory_mb": 5, "setting": {}},
        "splink": {"status": "not installed", "error": "x", "setting": {}},
    }
    sets = {"synthetic-20000": {"n_strings": 20000, "peers": runs}}
    tried = [ok | {"setting": setting} for setting in peers.PEERS["tfidf"].settings[:2]]
    text = peers.table({"sets": sets, "choices": {"tfidf": tried}})
    assert "| **cut 0.6 → 0.500 / 0.800**; cut 0.65 → 0.500 / 0.800 |" in text
    assert "### Synthetic strings, 20,000" in text
    assert text.index("affiliation-resolver") < text.index("TF-IDF") < text.index("| dedupe")
    assert "| stopped: too long | | 900 | 5 MB |" in text and "| not installed | |" in text
    assert "and faster: TF-IDF of characters, average linkage." in text
