"""Linking: names as mentions, the choice among records, and the CSV for a curator."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from documents import EXAMPLE, ROOT, table
from hypothesis import given
from hypothesis import strategies as st

from blocking import CandidatePairs
from pipeline.cleaning import clean
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.link_job import links_table
from pipeline.linking import LinkingSettings, LinkModel, Links, comparing, link, prepare_names, registry_facts
from pipeline.linking import candidates as choice
from pipeline.linking.features import NAMES as NAME_FEATURES
from pipeline.linking.features import RegistryFacts, link_features
from pipeline.linking.linker import _chunks, block_names
from pipeline.linking.names import bare_name, place_name
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Forms
from pipeline.registry import Registry, import_registry, short_id
from pipeline.training.boosting import ScorerRecipe
from pipeline.training.linker import read_link_labels, train_linker
from pipeline.training.parser import LabelFiles

RECORDS = """id,name,alias,acronym,city,country,parent_id,successor_id,status,type
oxford,University of Oxford,Oxford University,,Oxford,GB,,,,education
brookes,Oxford Brookes University,,,Oxford,GB,,,,education
hospital,University Hospital Heidelberg,Universitätsklinikum Heidelberg,,Heidelberg,DE,heidelberg,,,healthcare
heidelberg,Heidelberg University,Universität Heidelberg|Ruperto Carola,,Heidelberg,DE,,,,education
siemens,Siemens (Germany),,,München,Germany,,,,company
siemensus,Siemens (United States),,,Washington,US,siemens,,,company
paris11,Université Paris-Sud,Paris-Sud University,,Orsay,FR,,saclay,inactive,education
saclay,Université Paris-Saclay,,UPS,Gif-sur-Yvette,FR,,,,education
double,Heidelberg Univ.,,,Heidelberg,DE,,heidelberg,withdrawn,education
lost,Hertz Institute,,,,,,,withdrawn,facility
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> RegistryFacts:
    folder = tmp_path_factory.mktemp("registry")
    (folder / "own.csv").write_text(RECORDS, encoding="utf-8")
    import_registry(folder / "own.csv", folder / "own.parquet")
    return registry_facts(Registry.read(folder / "own.parquet"))


def forms_of(*strings: str) -> Forms:
    return normalize(parse(clean(fold_values(strings).affiliations)))


def best(facts: RegistryFacts, string: str, **settings: object) -> dict[str, float]:
    """The records that the first mention of a string could be, with their probabilities."""
    links = link(forms_of(string), facts, LinkingSettings(**settings))  # type: ignore[arg-type]
    own = links.mention == 0
    return dict(
        zip(
            (short_id(facts.registry.id[r]) for r in links.record[own].tolist()),
            links.probability[own].tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("string", "wanted"),
    [
        ("Department of Physics, University of Oxford, Oxford OX1 3PU, UK", "oxford"),
        ("Oxford Brookes Univ, Oxford, England", "brookes"),
        ("Universitätsklinikum Heidelberg, Im Neuenheimer Feld, Heidelberg, Germany", "hospital"),
        ("Faculty of Law, University of Heidelberg, Germany", "heidelberg"),
        ("Siemens AG, Munich, Germany", "siemens"),
        # Closed records: their names lead to the record that stands for them.
        ("LRI, Univ. Paris-Sud, 91405 Orsay, France", "saclay"),
        ("Dept. of Physics, Heidelberg Univ., Heidelberg", "heidelberg"),
    ],
)
def test_strings_find_their_records(facts: RegistryFacts, string: str, wanted: str) -> None:
    found = best(facts, string)
    assert next(iter(found)) == wanted
    assert found[wanted] > 0.5


def test_none_is_an_answer(facts: RegistryFacts) -> None:
    for string in ("Hertz Institute", "University of Nairobi, Kenya", "Department of Physics", "Cambridge"):
        assert max(best(facts, string).values(), default=0) < 0.5


def test_a_parent_stands_for_its_parts_where_asked(facts: RegistryFacts) -> None:
    string = "Universitätsklinikum Heidelberg, Heidelberg, Germany"
    found = best(facts, string, granularity="parent")
    assert next(iter(found)) == "heidelberg" and "hospital" not in found
    assert found["heidelberg"] == best(facts, string)["hospital"]


def test_nothing_is_a_case(facts: RegistryFacts) -> None:
    assert len(link(forms_of(), facts)) == 0
    assert len(link(forms_of("?!", ""), facts)) == 0


def test_links_do_not_depend_on_other_strings(facts: RegistryFacts) -> None:
    alone = best(facts, "Univ of Oxford, UK")
    links = link(forms_of("Univ of Oxford, UK", "Siemens AG, Munich", "Oxford Brookes University"), facts)
    forms = forms_of("Univ of Oxford, UK", "Siemens AG, Munich", "Oxford Brookes University")
    own = links.mention == forms.display.index("Univ of Oxford")
    found = {short_id(facts.registry.id[r]) for r in links.record[own].tolist()}
    assert next(iter(alone)) in found


def test_names_of_withdrawn_records_are_no_candidates(facts: RegistryFacts) -> None:
    names = facts.names.names
    assert "Hertz Institute" not in names.value and "Heidelberg Univ." in names.value
    assert facts.names.forms.organization.count("siemens") == 2
    at = names.value.index("Siemens (Germany)")
    assert facts.names.forms.city[at] == place_name("Munich", "DE")
    assert bare_name("Hospital (St. Mary)") == "Hospital (St. Mary)"


def test_features_tell_direction(facts: RegistryFacts) -> None:
    forms = forms_of("Faculty of Medicine, University of Oxford, UK")
    pairs = block_names(forms, facts, LinkingSettings())
    values = dict(zip(NAME_FEATURES, link_features(forms, facts, pairs).T, strict=True))
    value = [facts.names.names.value[i] for i in (pairs.right - len(forms)).tolist()]
    own, other = value.index("University of Oxford"), value.index("Oxford Brookes University")
    assert values["name_lacking"][own] == 0 and values["name_lacking"][other] > 0.1
    assert values["mention_lacking"][own] == values["mention_lacking"][other] == 0
    assert values["country"][own] == 1
    assert values["n_same_name"][own] == 1


@given(st.data())
def test_candidates_are_those_of_plain_loops(data: st.DataObject) -> None:
    facts = _facts()
    registry, names = facts.registry, facts.names.names
    n_mentions, n_names = 3, len(names.value)
    drawn = st.sets(st.tuples(st.integers(0, n_mentions - 1), st.integers(0, n_names - 1)), max_size=25)
    pairs_drawn = sorted(data.draw(drawn))
    left = np.array([a for a, _ in pairs_drawn], np.int64)
    right = np.array([n_mentions + b for _, b in pairs_drawn], np.int64)
    n = len(left)
    logits = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n)), np.float64)
    pairs = CandidatePairs(left, right, np.zeros(n, np.float32), np.ones(n, np.uint8))
    values = np.zeros((n, len(NAME_FEATURES)), np.float32)
    values[:, NAME_FEATURES.index("name_weight")] = np.arange(n) % 5
    # The first two mentions are of one string.
    found = choice.candidates(pairs, values, logits, np.array([0, 0, 1]), facts)
    best_of: dict[tuple[int, int], float] = {}
    covered: dict[tuple[int, int], float] = {}
    for i in range(n):
        key = int(left[i]), int(registry.current[names.record[right[i] - n_mentions]])
        best_of[key] = max(best_of.get(key, -99.0), float(logits[i]))
        covered[key] = max(covered.get(key, 0.0), float(i % 5))
    assert sorted(best_of) == sorted(zip(found.mention.tolist(), found.record.tolist(), strict=True))
    parents = set(zip(*(c.tolist() for c in registry.parents), strict=True))
    column = dict(zip(choice.NAMES, found.features.T, strict=True))
    for i, key in enumerate(zip(found.mention.tolist(), found.record.tolist(), strict=True)):
        rest = {r: v for (m, r), v in best_of.items() if m == key[0] and r != key[1]}
        assert column["logit"][i] == best_of[key]
        ahead = best_of[key] - max(rest.values(), default=best_of[key] - 20)
        assert column["margin"][i] == np.clip(ahead, -10, 20)
        assert column["covered"][i] == covered[key]
        up = [v for r, v in rest.items() if (key[1], r) in parents]
        down = [v for r, v in rest.items() if (r, key[1]) in parents]
        assert column["parent_logit"][i] == max(up, default=-15)
        assert column["child_logit"][i] == max(down, default=-15)
        assert column["rank"][i] == sum(v > best_of[key] for v in rest.values()) + sum(
            v == best_of[key] and r < key[1] for r, v in rest.items()
        )
        elsewhere = best_of.get((1 - key[0], key[1]), -15) if key[0] < 2 else -15
        assert column["elsewhere_logit"][i] == elsewhere
        of_string = [v for (m, _), v in best_of.items() if (m < 2) == (key[0] < 2)]
        assert column["string_margin"][i] == best_of[key] - max(of_string)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 5), st.integers(1, 4), st.integers(-3, 3))))
def test_names_within_others_are_those_of_plain_loops(rows: list[tuple[int, int, int, int]]) -> None:
    rows = sorted(rows, key=lambda r: r[0])
    mention, start, length, logit = (np.array([r[i] for r in rows], np.int64) for i in range(4))
    is_within, best = comparing.within_others(mention, start, length, logit.astype(np.float64))
    for i, (m, at, n, _) in enumerate(rows):
        around = [
            r[3] for r in rows if at >= 0 <= r[1] <= at and r[0] == m and r[1] + r[2] >= at + n and r[2] > n
        ]
        assert is_within[i] == bool(around) and best[i] == max(around, default=-15)


def test_features_tell_how_names_stand_in_strings(facts: RegistryFacts) -> None:
    forms = forms_of("Fac. Phys., Univ. Oxf., Oxford, UK", "Hospital of Oxford Brookes University, UK")
    value = {n: i for i, n in enumerate(facts.names.names.value)}
    brookes = next(i for i, c in enumerate(forms.context) if "brookes" in c)
    names = np.array([value["University of Oxford"], value["Oxford Brookes University"]])
    left = np.repeat([brookes, 1 - brookes], 2)
    right = len(forms) + np.tile(names, 2)
    order = np.lexsort([right, left])
    pairs = CandidatePairs(left[order], right[order], np.zeros(4, np.float32), np.ones(4, np.uint8))
    values = dict(zip(NAME_FEATURES, link_features(forms, facts, pairs).T, strict=True))
    at = {(m, n): i for i, (m, n) in enumerate(zip(left[order].tolist(), right[order].tolist(), strict=True))}
    oxford, other = (at[brookes, len(forms) + int(n)] for n in names)
    assert values["stands_at"][oxford] == -1 and values["stands_at"][other] > 0
    assert values["stands_length"][other] == len("oxford brookes university")
    assert values["stands_in_organization"][other] == 1 and values["share_of_organization"][other] > 0.4
    # A hospital and a university are named.
    assert values["classes_in_context"][other] == 3
    short = at[1 - brookes, len(forms) + int(names[0])]
    assert values["name_unabbreviated"][short] == pytest.approx(0, abs=1e-6)
    assert values["stands_at"][short] == -1


def test_strings_are_linked_whole() -> None:
    string = np.array([0, 0, 1, 2, 2, 2])
    assert list(_chunks(string, 1)) == [(0, 2), (2, 3), (3, 6)]
    assert list(_chunks(string, 3)) == [(0, 3), (3, 6)]
    assert list(_chunks(string[:0], 3)) == []


_FACTS: list[RegistryFacts] = []


def _facts() -> RegistryFacts:
    """The registry for hypothesis, which takes no fixtures of a narrower scope."""
    return _FACTS[0]


@pytest.fixture(scope="module", autouse=True)
def _kept(facts: RegistryFacts) -> None:
    _FACTS[:] = [facts]


def test_names_prepared_at_the_import_are_those_prepared_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = ROOT / "examples" / "registry.csv"
    import_registry(source, tmp_path / "plain.parquet")
    import_registry(source, tmp_path / "kept.parquet", prepare_names)
    plain, kept = (Registry.read(tmp_path / f"{name}.parquet") for name in ("plain", "kept"))
    made, read = (registry_facts(registry).names for registry in (plain, kept))
    assert made.names.value == read.names.value and np.array_equal(made.names.record, read.names.record)
    for name, column in vars(made.forms).items():
        assert (
            np.array_equal(column, vars(read.forms)[name])
            if name == "is_main"
            else (column == vars(read.forms)[name])
        ), name
    assert caplog.text == ""
    # A file of a version that made other forms is not trusted.
    other = replace(made, forms=replace(made.forms, context=[f"{c} x" for c in made.forms.context]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.linking.prepared.name_forms", lambda _: other)
        stale = Registry(prepare_names(plain))
    assert registry_facts(stale).names.forms.context == made.forms.context
    assert "import it again" in caplog.text


def test_the_shipped_linker_is_whole() -> None:
    model = LinkModel.load(None)
    assert set(model.names.features) <= set(NAME_FEATURES)
    assert set(model.choice.features) <= set(choice.NAMES)
    assert model.calibration.slope > 0


def test_a_folder_without_a_linker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no linker: no names\.json"):
        LinkModel.load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_candidates", 0), ("min_link_probability", 0.0), ("granularity", "campus")],
)
def test_wrong_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        LinkingSettings(**{name: value})  # type: ignore[arg-type]


def test_the_best_link_of_a_mention_comes_first() -> None:
    links = Links(np.array([0, 0, 2]), np.array([5, 4, 1]), np.zeros(3, np.int64), np.array([0.9, 0.2, 0.4]))
    assert links.is_best.tolist() == [True, False, True]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of the example."""
    path = tmp_path_factory.mktemp("example") / "example.parquet"
    import_registry(ROOT / "examples" / "registry.csv", path)
    return path


def test_the_command_writes_what_a_curator_needs(example: Path, tmp_path: Path) -> None:
    asked = ["link", str(EXAMPLE), "--registry", str(example), "--output", str(tmp_path / "links.csv")]
    done = CliRunner().invoke(main, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    with (tmp_path / "links.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    figures = json.loads(done.stdout)
    assert figures["n_mentions"] == len(rows)
    assert figures["n_linked"] == sum(bool(r["registry_id"]) for r in rows)
    with EXAMPLE.open(encoding="utf-8", newline="") as lines:
        gold = {r["affiliation"]: r["institution"] for r in csv.DictReader(lines)}
    # Names in the registry to our own labels; precision on the ones that say the same.
    label = {
        "University of Oxford": "university-of-oxford",
        "ETH Zurich": "eth-zurich",
        "Universidade de São Paulo": "universidade-de-sao-paulo",
        "Newcastle University": "newcastle-university",
        "University of Newcastle Australia": "university-of-newcastle-australia",
        "University Hospital Heidelberg": "heidelberg-university-hospital",
        "Miami University": "miami-university",
    }
    taken = [r for r in rows if r["registry_name"] in label]
    assert len(taken) > 30
    assert all(label[r["registry_name"]] in gold[r["affiliation"]].split("|") for r in taken)
    least = LinkingSettings().min_link_probability
    for row in rows:
        best_first = [float(row[f"alternative_{i}_probability"] or 0) for i in (1, 2, 3)]
        assert best_first == sorted(best_first, reverse=True)
        if row["registry_id"]:
            assert float(row["probability"]) >= max(best_first[0], least)
        else:
            assert row["probability"] == "" and best_first[0] < least


def test_what_a_person_says_is_in_the_csv(example: Path, tmp_path: Path) -> None:
    string = "University of Nairobi, Kenya"
    (tmp_path / "in.csv").write_text(f'affiliation\n"{string}"\n', encoding="utf-8")
    said = f'left,right,verdict\n"{string}",052gg0110,is-id\n'
    (tmp_path / "said.csv").write_text(said, encoding="utf-8")
    asked = ["link", str(tmp_path / "in.csv"), "--registry", str(example), "--quiet", "--output"]
    told = [*asked, str(tmp_path / "out.csv"), "--judgements", str(tmp_path / "said.csv")]
    assert CliRunner().invoke(main, told).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["registry_id"], row["probability"]) == ("https://ror.org/052gg0110", "1.0")
    assert row["registry_name"] == "University of Oxford" and row["matched_name"] == ""


def test_the_columns_are_documented(facts: RegistryFacts) -> None:
    mentions = parse(clean(fold_values(["University of Oxford"]).affiliations))
    links = link(normalize(mentions), facts)
    found = links_table(mentions, normalize(mentions), links, facts, 0.5)
    assert found.column_names == list(table(ROOT / "docs" / "registry.md", "Link strings", "column"))


def test_a_wrong_registry_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.parquet", EXAMPLE):
        asked = ["link", str(EXAMPLE), "--registry", str(path), "--output", str(tmp_path / "links.csv")]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == 2 and "affil registry import" in done.stderr, done.output
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# Training.


def test_a_linker_is_fitted_and_used(tmp_path: Path) -> None:
    cities = [
        "Oslo",
        "Bergen",
        "Lund",
        "Turku",
        "Riga",
        "Tartu",
        "Brno",
        "Graz",
        "Linz",
        "Bern",
        "Lyon",
        "Pisa",
    ]
    records = [f"u{i},University of {c},{c} University,{c}" for i, c in enumerate(cities)]
    records += [f"t{i},{c} Institute of Technology,,{c}" for i, c in enumerate(cities)]
    (tmp_path / "r.csv").write_text("id,name,alias,city\n" + "\n".join(records), encoding="utf-8")
    import_registry(tmp_path / "r.csv", tmp_path / "r.parquet")
    rows = []
    for i, c in enumerate(cities):
        fold = ("train", "train", "tune")[i % 3]
        for kind, text in (
            ("u", f"Department of Physics, University of {c}, {c}"),
            ("u", f"Univ. {c}, Faculty of Law"),
            ("t", f"Institute of Technology {c}, {c}"),
            ("t", f"{c} Inst. of Technol., Dept. 3"),
        ):
            rows.append({"string": text, "labels": [f"{kind}{i}"], "fold": fold})
        rows.append({"string": f"{c} Museum of Fine Arts, {c}", "labels": [], "fold": fold})
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = LabelFiles([labels], [], "string", "labels")
    known = read_link_labels(files)
    assert len(known) == 60 and sum(not s.labels for s in known.values()) == 12
    (tmp_path / "out.tsv").write_text("ror_id\tfold\nu0\tnames-test\n")
    recipe = ScorerRecipe(n_interactions=4, max_iter=20, min_samples_leaf=5, rounds_per_look=10)
    lines = list(
        train_linker(files, tmp_path / "r.parquet", tmp_path / "model", tmp_path / "out.tsv", recipe)
    )
    assert lines[-1] == f"linker: {tmp_path / 'model'}"
    facts = registry_facts(Registry.read(tmp_path / "r.parquet"))
    found = link(
        forms_of("Univ. Lund, Department of Physics"), facts, LinkingSettings(model=str(tmp_path / "model"))
    )
    assert facts.registry.id[int(found.record[0])] == "u2"
    with pytest.raises(UsageError, match="no label is the id of a record"):
        (tmp_path / "other.csv").write_text("id,name\nx,Xylon\n")
        import_registry(tmp_path / "other.csv", tmp_path / "other.parquet")
        list(train_linker(files, tmp_path / "other.parquet", tmp_path / "model2", None, recipe))


def test_labels_need_both_folds(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("affiliation,cluster,fold\nUniversity of Oslo,u1,train\n")
    with pytest.raises(UsageError, match="no row of fold 'tune'"):
        read_link_labels(LabelFiles([path]))
