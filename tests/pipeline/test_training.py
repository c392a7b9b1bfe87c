"""Fitting a pair scorer: what it learns from, what it writes, and that a run can use it."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline import resolve
from pipeline.cleaning import clean
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.scoring import NAMES, AdditiveModel, Vocabulary, fit_vocabulary
from pipeline.scoring.additive import Term
from pipeline.settings import Settings
from pipeline.training.boosting import ScorerRecipe
from pipeline.training.labels import Columns, fold_of_cluster
from pipeline.training.scorer import (
    document_frequency,
    frequency_file,
    labelled_pairs,
    read_folds,
    train_scorer,
)
from pipeline.training.scorer_tuning import tune_scorer
from pipeline.training.terse import terse_copies

CITIES = (
    *("Oslo", "Bergen", "Aarhus", "Uppsala", "Lund", "Turku", "Tampere", "Vilnius", "Riga", "Tartu"),
    *("Gdansk", "Poznan", "Krakow", "Brno", "Graz", "Linz", "Bern", "Basel", "Lausanne", "Lyon"),
    *("Grenoble", "Nantes", "Toulouse", "Bologna", "Padua", "Turin", "Pisa", "Seville", "Granada", "Coimbra"),
)
#: A fifth of the rounds, and leaves as small as the data: enough for thirty cities.
QUICK = ScorerRecipe(max_iter=80, min_samples_leaf=10, rounds_per_look=20, n_models=2)
#: Each institution has a sibling of another kind in the same city.
VARIANTS = (
    "University of {}, {}",
    "Department of Physics, University of {}, {}",
    "{} University, {}",
    "Univ. {}, Faculty of Medicine, {}",
    "UNIVERSITY OF {}, {}",
)
SIBLINGS = (
    "{} Institute of Technology, {}",
    "Inst. of Technology {}, {}",
    "{} Institute of Technol., Dept. 3, {}",
)


def rows() -> list[tuple[str, str, str]]:
    """(string, cluster, fold): two institutions a city, each with the variants of its kind."""
    found = []
    for i, city in enumerate(CITIES):
        fold = ("train", "train", "tune")[i % 3]
        for kind, forms in (("u", VARIANTS), ("t", SIBLINGS)):
            found += [(form.format(city, city), f"{kind}{i}", fold) for form in forms]
    return [*found, ("University of Elsewhere", "x", "test")]


def write(path: Path, table: list[tuple[str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        out.writerow(("affiliation", "cluster", "fold"))
        out.writerows(table)
    return path


@dataclass(frozen=True)
class Trained:
    labels: Path
    folder: Path
    lines: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    labels = write(folder / "labels.tsv", rows())
    return Trained(labels, folder / "scorer", list(train_scorer(labels, folder / "scorer", QUICK)))


def of_fold(fold: str) -> list[tuple[str, str]]:
    return [(string, cluster) for string, cluster, f in rows() if f == fold]


def test_the_files_of_a_scorer_are_written(trained: Trained) -> None:
    files = sorted(f.name for f in trained.folder.iterdir())
    assert files == ["calibration.json", "document_frequency.tsv.gz", "model.json"]
    calibration = json.loads((trained.folder / "calibration.json").read_text())
    assert calibration["slope"] > 0
    assert trained.lines[-1] == f"written: {trained.folder}"
    starts = [line.split()[0].rstrip(":") for line in trained.lines[1:-1]]
    assert starts == ["train", "terse", "acting", *["round"] * 4, "train", "tune"]


def test_the_model_file_tells_the_pairs_of_other_cities_apart(trained: Trained) -> None:
    model = AdditiveModel.load(str(trained.folder / "model.json"), NAMES)
    counts, n_texts = document_frequency([s for s, _ in of_fold("train")])
    tune = labelled_pairs(of_fold("tune"), (counts, n_texts))
    assert model.features == NAMES
    assert 0 < tune.is_match.mean() < 1
    logit = model.logits(tune.values)
    assert np.median(logit[tune.is_match]) > np.median(logit[~tune.is_match])
    auc = np.mean(logit[tune.is_match][:, None] > logit[~tune.is_match][None, :])
    # The siblings within a city need more than thirty cities to learn from.
    assert auc > 0.9


def test_training_again_gives_the_same_files(trained: Trained, tmp_path: Path) -> None:
    list(train_scorer(trained.labels, tmp_path / "again", QUICK))
    for file in trained.folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_terse_copies_state_the_organization_and_little_else() -> None:
    given = [(string, cluster) for string, cluster in of_fold("train") if cluster.startswith("u")]
    found = terse_copies(given)
    label_of, city_of = dict(found), {f"u{i}": city for i, city in enumerate(CITIES)}
    assert len(label_of) == len(found)
    made = {text: label for text, label in found if (text, label) not in given}
    assert made
    assert all(city_of[label] in text for text, label in made.items())
    assert any("," not in text for text in made)
    # A city and one unit at the most: nothing that the strings do not say.
    assert all(len(text.split(", ")) <= 3 for text in made)
    # Some stay whole, so that terse strings meet whole ones.
    assert {label for text, label in found if (text, label) in given} > set(made.values()) - {"u0"}
    assert terse_copies(given) == found
    assert terse_copies(given, seed=1) != found


def test_a_terse_text_has_the_label_of_most_that_come_to_it() -> None:
    given = [(f"Department {i}, University of Oslo, Oslo", "many") for i in range(30)]
    given += [(f"Section {i}, University of Oslo, Oslo", "few") for i in range(5)]
    assert dict(terse_copies(given))["University of Oslo"] == "many"


def test_without_a_weight_no_terse_copies_are_made(trained: Trained, tmp_path: Path) -> None:
    lines = list(train_scorer(trained.labels, tmp_path / "own", replace(QUICK, terse_weight=0.0)))
    assert not any(line.startswith("terse") for line in lines)
    without, own = (
        AdditiveModel.load(str(f / "model.json"), NAMES) for f in (tmp_path / "own", trained.folder)
    )
    assert without.to_json() != own.to_json()


def test_a_run_uses_the_scorer_that_settings_name(trained: Trained) -> None:
    own = Settings().with_values(
        scoring={"model": str(trained.folder / "model.json")},
        calibration={"file": str(trained.folder / "calibration.json")},
        # Which clusters the second pass compares depends on the scorer.
        blocking={"n_group_neighbours": 0},
    )
    strings = [s for s, _ in of_fold("tune")]
    ours = resolve(strings, own)
    shipped = resolve(strings, Settings().with_values(blocking={"n_group_neighbours": 0}))
    assert np.array_equal(ours.matches.pairs.left, shipped.matches.pairs.left)
    assert not np.array_equal(ours.matches.pairs.logit, shipped.matches.pairs.logit)
    city = {string: cluster[1:] for string, cluster in of_fold("tune")}
    found = ours.mentions.assign(place=ours.mentions["affiliation"].map(city))
    assert (found.groupby("entity_id")["place"].nunique() == 1).all()
    # It learnt that variants belong together.
    assert len(ours.institutions) <= len(strings) / 3


def test_token_weights_are_those_that_the_model_was_fitted_with(trained: Trained) -> None:
    mentions = parse(clean(fold_values([s for s, _ in of_fold("tune")]).affiliations))
    forms = normalize(mentions)
    counts, n_texts = document_frequency([s for s, _ in of_fold("train")])
    expected = Vocabulary.fit(forms.concepts, counts, n_texts)
    found = fit_vocabulary(forms, str(trained.folder / "model.json"))
    assert found.token == expected.token
    assert np.array_equal(found.weight, expected.weight)
    assert not np.array_equal(fit_vocabulary(forms).weight, expected.weight)


def test_broken_frequencies_are_refused(trained: Trained, tmp_path: Path) -> None:
    forms = normalize(parse(clean(fold_values(["University of Oslo"]).affiliations)))
    (tmp_path / "document_frequency.tsv.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match="no token frequencies"):
        fit_vocabulary(forms, str(tmp_path / "model.json"))


def test_frequencies_read_back(trained: Trained) -> None:
    counts, n_texts = document_frequency([s for s, _ in of_fold("train")])
    written = (trained.folder / "document_frequency.tsv.gz").read_bytes()
    assert written == frequency_file(counts, n_texts)
    first, *lines = gzip.decompress(written).decode().splitlines()
    assert int(first) == n_texts == len(of_fold("train"))
    numbers = [int(line.split("\t")[1]) for line in lines]
    assert numbers == sorted(numbers, reverse=True)
    assert dict(line.split("\t") for line in lines) == {t: str(n) for t, n in counts.items()}


def test_document_frequency_counts_texts_and_drops_the_rare() -> None:
    texts = ["University of Oslo", "Universität Oslo", "Oslo, Oslo University", "Bergen University"]
    assert document_frequency(texts) == (Counter({"university": 4, "oslo": 3}), 4)
    assert document_frequency([]) == (Counter(), 0)


def test_folds_are_read_once_a_string_and_the_test_fold_is_left_alone(tmp_path: Path) -> None:
    table = [("A", "1", "train"), ("A", "2", "train"), ("B", "1", "tune"), ("C", "3", "test")]
    for name in ("labels.tsv", "labels.csv"):
        found = read_folds(write(tmp_path / name, table))
        assert found == {"train": [("A", "1")], "tune": [("B", "1")]}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        next(train_scorer(tmp_path / "nowhere.tsv", tmp_path / "out"))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.tsv", rows())
    with pytest.raises(UsageError, match="no column 'ror'; there are affiliation, cluster, fold"):
        next(train_scorer(labels, tmp_path / "out", columns=Columns(cluster="ror")))


@pytest.mark.parametrize("fold", ["train", "tune"])
def test_a_missing_fold_is_named(tmp_path: Path, fold: str) -> None:
    labels = write(tmp_path / "labels.tsv", [row for row in rows() if row[2] != fold])
    with pytest.raises(UsageError, match=f"no row of fold '{fold}' in column 'fold'"):
        next(train_scorer(labels, tmp_path / "out"))


@pytest.mark.parametrize("fold", ["train", "tune"])
def test_a_fold_of_one_institution_teaches_nothing(tmp_path: Path, fold: str) -> None:
    """Every pair is a match: there is nothing to tell apart."""
    table = [(s, "same" if f == fold else c, f) for s, c, f in rows()]
    labels = write(tmp_path / "labels.tsv", table)
    with pytest.raises(UsageError, match=f"fold '{fold}'"):
        list(train_scorer(labels, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_row_without_a_label_is_named(tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.tsv", [*rows(), ("University of Nowhere", "", "tune")])
    with pytest.raises(UsageError, match=f"line {len(rows()) + 2}: no affiliation or no cluster"):
        next(train_scorer(labels, tmp_path / "out"))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_bytes("affiliation\tcluster\tfold\nUniversität\t1\ttrain\n".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        next(train_scorer(labels, tmp_path / "out"))


def test_the_command_reports_one_line(tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.tsv", [row for row in rows() if row[2] != "tune"])
    found = CliRunner().invoke(main, ["train", "scorer", "--labels", str(labels), "--output", "out"])
    assert found.exit_code == 2
    assert "no row of fold 'tune'" in found.output


@pytest.mark.parametrize("edge", [0.0, 1.0, 0.5, 0.1, -0.3, 1e-7, 123.456789])
@pytest.mark.parametrize("side", [-1, 0, 1])
def test_no_value_changes_its_bin_when_a_model_is_written(edge: float, side: int) -> None:
    """Edges are often values themselves, in float32; the file has few decimals."""
    value = np.float32(edge)
    value = value if not side else np.nextafter(value, np.float32(side * np.inf))
    model = AdditiveModel(
        ("a",), {"a": np.array([float(value)])}, (Term(("a",), np.array([-1.0, 1.0])),), 0.0
    )
    again = AdditiveModel.from_json(model.to_json(), "file")
    around = np.array([value, *(np.nextafter(value, np.float32(s * np.inf)) for s in (-1, 1))], np.float32)
    assert again.logits(around[:, None]).tolist() == model.logits(around[:, None]).tolist() == [-1, -1, 1]


def test_boosting_ends_when_the_tune_fold_gains_no_more(trained: Trained, tmp_path: Path) -> None:
    eager = ScorerRecipe(max_iter=400, min_samples_leaf=2, learning_rate=1.0, rounds_per_look=10, patience=2)
    lines = list(train_scorer(trained.labels, tmp_path / "eager", eager))
    looks = [line for line in lines if line.startswith("round")]
    values = [float(line.split("precision ")[1].split()[0]) for line in looks]
    assert len(looks) < 40
    assert np.argmax(values) == len(values) - 3
    assert f"average precision {max(values):.4f}" in lines[-2]


def test_an_interrupted_fit_goes_on_with_what_it_had_found(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = train_scorer(trained.labels, tmp_path / "again", QUICK)
    for line in steps:
        if line.startswith("round"):
            break
    steps.close()
    assert sorted(f.name for f in (tmp_path / "again").iterdir()) == ["checkpoint.json"]
    with monkeypatch.context() as patch:
        patch.delattr("pipeline.training.scorer.interactions")
        list(train_scorer(trained.labels, tmp_path / "again", QUICK))
    for file in trained.folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    assert not (tmp_path / "again" / "checkpoint.json").exists()


def test_a_scorer_is_fine_tuned_on_few_labels(trained: Trained, tmp_path: Path) -> None:
    """A sheet of thirty strings, no folds: the tables stay, their weights move, the tokens' weights stay."""
    clusters = [c for _, c in of_fold("tune")]
    table = [(s, c) for s, c in of_fold("tune") if c in clusters]
    labels = tmp_path / "own.csv"
    with labels.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("affiliation", "cluster"), *table])
    lines = list(tune_scorer(trained.folder, tmp_path / "own", QUICK, labels_file=labels))
    before = AdditiveModel.load(str(trained.folder / "model.json"), NAMES)
    after = AdditiveModel.load(str(tmp_path / "own" / "model.json"), NAMES)
    assert [t.features for t in after.terms] == [t.features for t in before.terms]
    assert after.intercept != before.intercept
    frequencies = "document_frequency.tsv.gz"
    assert (tmp_path / "own" / frequencies).read_bytes() == (trained.folder / frequencies).read_bytes()
    losses = [float(line.split("log loss ")[1].split(",")[0]) for line in lines if "tune " in line]
    assert losses[-1] < losses[0]


def test_without_folds_a_fifth_of_the_clusters_is_held_out(tmp_path: Path) -> None:
    labels = tmp_path / "own.csv"
    clusters = [f"c{i}" for i in range(1000)]
    rows_of = [(f"{c} {n}", c) for c in clusters for n in range(2)]
    with labels.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("affiliation", "cluster"), *rows_of])
    folds = read_folds(labels)
    assert {c for _, c in folds["train"]}.isdisjoint({c for _, c in folds["tune"]})
    assert len(folds["train"]) + len(folds["tune"]) == len(rows_of)
    assert 0.15 < len(folds["tune"]) / len(rows_of) < 0.25
    assert {fold_of_cluster(c) for _, c in folds["tune"]} == {"tune"}
    with pytest.raises(UsageError, match="no column 'part'"):
        read_folds(labels, Columns(fold="part"))


def test_two_clusters_without_folds_are_too_few(tmp_path: Path) -> None:
    labels = tmp_path / "own.csv"
    held = next(f"c{i}" for i in range(100) if fold_of_cluster(f"c{i}") == "train")
    labels.write_text(f"affiliation,cluster\nUniversity of Oslo,{held}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="too few clusters"):
        read_folds(labels)


@pytest.mark.parametrize(
    "line",
    ["max_iter = 0", "hold = 0.0", "max_bins = 300", "depth = 3", "n_models = 0", "feature_share = 0.0"],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "own.toml").write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match=line.split()[0]):
        ScorerRecipe.read(tmp_path / "own.toml")


def test_the_shipped_recipe_is_the_default() -> None:
    assert ScorerRecipe.read() == ScorerRecipe()
