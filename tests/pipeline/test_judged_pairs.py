"""Judgements as something to learn from: which pairs they settle, and what a scorer makes of them."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline import resolve
from pipeline.cli import main
from pipeline.judgements import Judgements
from pipeline.records import affiliation_id
from pipeline.scoring import NAMES, AdditiveModel, token_frequencies
from pipeline.settings import Settings
from pipeline.text import compare
from pipeline.training.judged import Judged, SettledPairs
from pipeline.training.judged_pairs import JudgedTexts, judged_pairs
from pipeline.training.labelled_pairs import candidates_among
from pipeline.training.labels import fold_of_cluster
from pipeline.training.scorer import LabelledPairs, labelled_pairs

SHIPPED = Path(str(files("pipeline"))) / "models" / "pair_scorer"
KIEL, KIEL_NATIVE = "Kiel University", "Christian-Albrechts-Universität zu Kiel"
KIEL_SHORT = "CAU Kiel, Germany"
OXFORD = "Univ Oxford, Dept Phys, Oxford OX1 3PU, England"
HOSPITALS = "Oxford University Hospitals NHS Trust, Oxford"
ETH, FEDERAL = "ETH Zurich, Switzerland", "Swiss Federal Institute of Technology, Zurich"
EPFL = "Ecole Polytechnique Federale de Lausanne, Switzerland"
SAID = (
    (KIEL, KIEL_NATIVE, "must-link"),
    (KIEL_NATIVE, KIEL_SHORT, "same"),
    (OXFORD, HOSPITALS, "different"),
    (ETH, "https://ror.org/05a28rw58", "is-id"),
    (FEDERAL, "https://ror.org/05a28rw58", "is-id"),
    (EPFL, "https://ror.org/02s376052", "is-id"),
)
CITIES = (
    *("Oslo", "Bergen", "Aarhus", "Uppsala", "Lund", "Turku", "Tampere", "Vilnius", "Riga", "Tartu"),
    *("Gdansk", "Poznan", "Krakow", "Brno", "Graz", "Linz", "Bern", "Basel", "Lausanne", "Lyon"),
)


def write(
    path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("left", "right", "verdict")
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def city_rows() -> list[tuple[str, str]]:
    forms = (
        "University of {0}, {0}",
        "{0} University, Dept. of Law, {0}",
        "Univ. {0}",
        "Hospital of {0}, {0}",
    )
    return [(f.format(c), f"{'h' if n == 3 else 'u'}-{c}") for c in CITIES for n, f in enumerate(forms)]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", "scorer", *map(str, arguments)])


def tuned(folder: Path, rows: list[tuple[str, ...]], *options: object) -> AdditiveModel:
    folder.mkdir(exist_ok=True)
    done = call(
        "--from", "built-in", "--judgements", write(folder / "said.csv", rows), "--output", folder, *options
    )
    assert done.exit_code == 0, done.output
    return AdditiveModel.load(str(folder / "model.json"), NAMES)


def judged(rows: list[tuple[str, ...]], held_out: frozenset[str] = frozenset()) -> Judged:
    said = Judgements.from_rows(dict(zip(("left", "right", "verdict"), row, strict=True)) for row in rows)
    return Judged.of(said, held_out)


def told(rows: list[tuple[str, ...]], held_out: frozenset[str] = frozenset()) -> SettledPairs:
    return judged_pairs(judged(rows, held_out), token_frequencies(None))[1]


def pairs_of(rows: list[tuple[str, ...]]) -> LabelledPairs:
    return judged_pairs(judged(rows), token_frequencies(None))[0]


def logits(model: AdditiveModel, values: np.ndarray) -> np.ndarray:
    return model.logits(values[:, [NAMES.index(f) for f in model.features]])


def test_a_pair_is_settled_by_what_was_said_and_what_follows() -> None:
    """Three names of Kiel are three pairs of one, two strings of one id are one, of two ids two."""
    found = pairs_of(list(SAID))
    # Kiel 3 and the two of Zurich; Oxford and its hospitals, Lausanne and the two of Zurich.
    assert int(found.is_match.sum()) == 4
    assert int((~found.is_match).sum()) in (2, 3)  # Of what follows, as much as blocking proposes.
    # In another order the same is said.
    again = pairs_of(list(reversed(SAID)))
    np.testing.assert_array_equal(found.values, again.values)
    np.testing.assert_array_equal(found.is_match, again.is_match)


def test_a_pair_that_blocking_would_not_propose_is_learnt_from() -> None:
    other = [
        (f"Institute {n} of {city}", f"Museum {n} of {city}", "different") for n, city in enumerate(CITIES)
    ]
    far = ("Zebra Labs", "Quux Corporation of Nowhere", "same")
    found = pairs_of([*other, far])
    assert int(found.is_match.sum()) == 1


def test_mentions_ids_and_guarded_cells_are_understood(tmp_path: Path) -> None:
    """As `affil review export` writes them: ids that outrank, cells that are safe in a spreadsheet."""
    guarded = "=Kiel University"
    ids = [f"{affiliation_id(text)}-0" for text in (guarded, KIEL_NATIVE)]
    header = ("left_id", "right_id", "left", "right", "verdict")
    path = write(tmp_path / "said.csv", [(*ids, f"'{guarded}", KIEL_NATIVE, "same")], header)
    found = judged_pairs(Judged.read(path), token_frequencies(None))[1]
    assert (found.is_match.tolist(), found.n_unknown) == ([True], 0)
    alone = told([(*ids, "no")])
    assert (len(alone.is_match), alone.n_unknown) == (0, 1)


def test_what_is_held_out_is_not_learnt_from() -> None:
    found = told(list(SAID), held_out=frozenset({OXFORD, KIEL_SHORT}))
    assert found.n_held_out == 2
    assert int(found.is_match.sum()) == 2  # Kiel once, Zurich once.


def test_what_was_judged_outranks_labels_among_candidates() -> None:
    rows = [(KIEL, "kiel"), (KIEL_NATIVE, "another"), (ETH, "zurich"), (EPFL, "zurich"), ("Univ. Lyon", "l")]
    alone = candidates_among(rows, token_frequencies(None))
    found = candidates_among(rows, token_frequencies(None), judged(list(SAID)))
    assert found.told == told(list(SAID)).told
    raw = [set(), set()]  # type: list[set[tuple[frozenset[str], bool]]]
    for own, pairs in zip(raw, (alone, found), strict=True):
        context = pairs.features.forms.context
        for a, b, is_match in zip(*(x.tolist() for x in pairs[1:4]), strict=True):
            own.add((frozenset((context[a], context[b])), is_match))
    kiel, zurich = ({compare(a), compare(b)} for a, b in ((KIEL, KIEL_NATIVE), (ETH, EPFL)))
    assert (frozenset(kiel), True) in raw[1] and (frozenset(kiel), False) not in raw[1]
    assert (frozenset(zurich), True) in raw[0] and (frozenset(zurich), False) in raw[1]


def test_texts_of_judged_pairs_are_told_apart_as_their_mentions_are() -> None:
    found = JudgedTexts.of(judged(list(SAID)))
    pairs = {
        frozenset((found.text[a], found.text[b])): bool(y)
        for a, b, y in zip(found.left, found.right, found.is_match, strict=True)
    }
    assert pairs[frozenset((compare(KIEL), compare(KIEL_NATIVE)))]
    assert not pairs[frozenset((compare(OXFORD), compare(HOSPITALS)))]
    assert len(pairs) == len(found.is_match)
    assert not JudgedTexts.of(judged([])).text


@pytest.mark.parametrize(("row", "sign"), [((KIEL, KIEL_NATIVE, "same"), 1), ((OXFORD, HOSPITALS, "no"), -1)])
def test_a_judged_pair_moves_the_way_it_was_judged(row: tuple[str, ...], sign: int, tmp_path: Path) -> None:
    before = AdditiveModel.load(None, NAMES)
    values = pairs_of([row]).values
    moves = []
    for hold in (20, 1):
        (tmp_path / "own.toml").write_text(f"hold = {hold}.0\n")
        after = tuned(tmp_path / str(hold), [row], "--recipe", tmp_path / "own.toml")
        moves.append(sign * float((logits(after, values) - logits(before, values))[0]))
    assert 0 < moves[0] < moves[1]


def test_other_pairs_stay_within_bounds(tmp_path: Path) -> None:
    before, after = AdditiveModel.load(None, NAMES), tuned(tmp_path, list(SAID))
    said = pairs_of(list(SAID))
    margin = np.where(said.is_match, 1, -1)
    losses = [np.logaddexp(0, -margin * logits(m, said.values)).mean() for m in (before, after)]
    assert losses[1] < losses[0]
    others = labelled_pairs(city_rows(), token_frequencies(None)).values
    assert len(others) > 100
    moved = [1 / (1 + np.exp(-logits(model, others))) for model in (before, after)]
    assert np.abs(moved[1] - moved[0]).max() < 0.05
    assert after.intercept == pytest.approx(before.intercept, abs=1e-5)


def test_without_labels_calibration_and_tokens_stay_and_a_run_takes_the_scorer(tmp_path: Path) -> None:
    tuned(tmp_path / "own", list(SAID))
    kept, shipped = (json.loads((f / "calibration.json").read_text()) for f in (tmp_path / "own", SHIPPED))
    assert kept == shipped
    assert token_frequencies(str(tmp_path / "own" / "model.json")) == token_frequencies(None)
    own = Settings().with_values(
        scoring={"model": str(tmp_path / "own" / "model.json")},
        calibration={"file": str(tmp_path / "own" / "calibration.json")},
    )
    strings = [OXFORD, HOSPITALS, KIEL, KIEL_NATIVE]
    logit = [resolve(strings, s).matches.pairs.logit for s in (own, Settings())]
    assert logit[0].shape == logit[1].shape
    assert not np.array_equal(*logit)


def test_judgements_count_beside_labels(tmp_path: Path) -> None:
    labels = write(tmp_path / "own.csv", list(city_rows()), ("affiliation", "cluster"))
    held = next(a for a, c in city_rows() if fold_of_cluster(c) == "tune")
    rows = [*SAID, (held, "Elsewhere Institute", "no")]
    with_both = tuned(tmp_path / "both", list(rows), "--labels", labels)
    done = call("--from", "built-in", "--labels", labels, "--output", tmp_path / "labels")
    assert done.exit_code == 0, done.output
    alone = AdditiveModel.load(str(tmp_path / "labels" / "model.json"), NAMES)
    said = pairs_of(list(SAID))
    margin = np.where(said.is_match, 1, -1)
    losses = [np.logaddexp(0, -margin * logits(m, said.values)).mean() for m in (alone, with_both)]
    assert losses[1] < losses[0]
    done = call(
        "--from",
        "built-in",
        "--labels",
        labels,
        "--judgements",
        tmp_path / "both" / "said.csv",
        *out(tmp_path),
    )
    assert "1 about held-out strings were left out" in done.output
    assert "(calibrated)" in done.output


def out(folder: Path) -> tuple[str, str]:
    return "--output", str(folder / "out")


CONTRADICTION = [(KIEL, KIEL_NATIVE, "same"), (KIEL_NATIVE, KIEL_SHORT, "same"), (KIEL, KIEL_SHORT, "no")]
IDS = [("a0123456789abcdef", "a1123456789abcdef", "same")]


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        (("--from", "built-in"), CONTRADICTION, "are joined by"),
        (("--from", "built-in"), [(KIEL, KIEL_NATIVE, "perhaps")], "row 1: unknown verdict 'perhaps'"),
        (("--from", "built-in"), IDS, "no judged pair to learn from"),
        (("--from", "built-in"), [(KIEL, KIEL, "same")], "no judged pair to learn from"),
        (("--from", "built-in"), [], "no judged pair to learn from"),
        (("--from", "built-in"), None, "nothing to learn from: give --labels, --judgements or both"),
        (("--from", "nowhere"), list(SAID), "no such pair model: nowhere/model.json"),
        ((), list(SAID), "judgements adjust a scorer: give --from built-in"),
        ((), None, "a new scorer needs --labels"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    options: tuple[str, ...], rows: list[tuple[str, ...]] | None, message: str, tmp_path: Path
) -> None:
    said = () if rows is None else ("--judgements", write(tmp_path / "said.csv", rows))
    done = call(*options, *said, *out(tmp_path))
    assert done.exit_code == 2
    lines = done.output.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    if rows == CONTRADICTION:
        # The chain: which strings, by which rows.
        assert all(name in lines[0] for name in (KIEL, KIEL_NATIVE, KIEL_SHORT))
    assert not (tmp_path / "out").exists()
