"""Scoring: which pairs a rescorer is asked about, and how well the shipped model tells names apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np
import pytest

from blocking import CandidatePairs
from pipeline.cleaning import clean
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.normalization import normalize
from pipeline.parsing import parse
from pipeline.records import Combination, Forms, ScoredPairs
from pipeline.scoring import PairFeatures, ScoringSettings, fit_vocabulary, score
from pipeline.scoring.budget import Budget
from pipeline.scoring.score import doubtful

TRUE = [
    ("Massachusetts Institute of Technology, Cambridge, MA, USA", "Massachusetts Inst. of Technology, USA"),
    ("Technische Universität München, Germany", "Technical University of Munich, Munich, Germany"),
    ("University of Oxford, Oxford, UK", "Dept. of Physics, Oxford University, Oxford, United Kingdom"),
    ("ETH Zürich, Switzerland", "Swiss Federal Institute of Technology (ETH) Zurich, Zürich, Switzerland"),
    ("Università degli Studi di Padova, Italy", "University of Padua, Padova, Italy"),
    ("Universidad de Chile, Santiago, Chile", "University of Chile, Santiago"),
    ("Kyoto University, Kyoto, Japan", "Graduate School of Science, Kyoto Univ., Japan"),
    ("Karolinska Institutet, Stockholm, Sweden", "Karolinska Institute, Solna, Sweden"),
    ("Johns Hopkins University, Baltimore, MD", "Johns Hopkins Univ, Dept Med, Baltimore, MD 21205 USA"),
    ("University of Helsinki, Finland", "Helsingin yliopisto, Helsinki, Finland"),
    ("Universität Wien, Austria", "University of Vienna, Vienna, Austria"),
    ("Universidade de São Paulo, Brazil", "University of Sao Paulo, Sao Paulo, Brazil"),
    ("Tsinghua University, Beijing, China", "Department of Automation, Tsinghua Univ, Beijing 100084"),
    ("The University of Tokyo, Japan", "Univ Tokyo, Bunkyo ku, Tokyo, Japan"),
    ("Leiden University, The Netherlands", "Universiteit Leiden, Leiden, Netherlands"),
    ("Uppsala University, Sweden", "Department of Chemistry, Uppsala universitet, Uppsala, Sweden"),
    ("Stanford University, Stanford, CA", "Stanford Univ, Stanford, California 94305, USA"),
    ("University of Cape Town, South Africa", "Univ. of Cape Town, Cape Town, South Africa"),
    ("Université de Genève, Switzerland", "University of Geneva, Geneva, Switzerland"),
    ("Universitat de Barcelona, Spain", "University of Barcelona, Barcelona, Spain"),
    ("Charles University, Prague, Czech Republic", "Univerzita Karlova, Praha, Czech Republic"),
    ("University of Warsaw, Poland", "Faculty of Physics, University of Warsaw, Warszawa, Poland"),
    ("Rijksuniversiteit Groningen, Netherlands", "University of Groningen, Groningen, the Netherlands"),
    ("University of Michigan, Ann Arbor, USA", "University of Michgan, Ann Arbor, MI 48109, USA"),
    ("Aarhus Universitet, Denmark", "Aarhus University, Aarhus, Denmark"),
]
SIBLINGS = [
    ("University of Florida, Gainesville, FL, USA", "University of South Florida, Tampa, FL, USA"),
    ("Miami University, Oxford, OH, USA", "University of Miami, Coral Gables, FL, USA"),
    ("Ludwig-Maximilians-Universität München, Germany", "Technische Universität München, Germany"),
    ("Michigan State University, East Lansing, MI", "University of Michigan, Ann Arbor, MI"),
    ("University of Washington, Seattle, WA", "Washington University in St. Louis, MO"),
    ("University of York, York, UK", "York University, Toronto, Canada"),
    ("Beijing Normal University, China", "Beijing University of Technology, China"),
    ("Vrije Universiteit Brussel, Belgium", "Vrije Universiteit Amsterdam, Netherlands"),
    ("Freie Universität Berlin, Germany", "Technische Universität Berlin, Germany"),
    ("Tokyo Institute of Technology, Japan", "Tokyo University of Science, Japan"),
    ("Georgia State University, Atlanta, GA", "Georgia Institute of Technology, Atlanta, GA"),
    ("University of California, Los Angeles, USA", "University of California, San Diego, USA"),
    ("University of Newcastle, NSW, Australia", "Newcastle University, Newcastle upon Tyne, UK"),
    ("Indian Institute of Technology Bombay, India", "Indian Institute of Technology Delhi, India"),
    ("Medical University of Vienna, Austria", "Vienna University of Economics and Business, Austria"),
    ("University of Birmingham, UK", "Birmingham City University, UK"),
    ("Oxford Brookes University, UK", "University of Oxford, UK"),
    ("Universidad Católica de Chile, Santiago", "Universidad de Santiago de Chile, Santiago"),
    ("University of Manchester, UK", "Manchester Metropolitan University, UK"),
    ("Boston University, Boston, MA, USA", "Boston College, Chestnut Hill, MA, USA"),
    ("Peking University, Beijing, China", "Peking Union Medical College, Beijing, China"),
    ("Charles Sturt University, Australia", "Charles Darwin University, Australia"),
    ("University of Texas at Austin, USA", "University of Texas at Dallas, USA"),
    ("University of Lyon, France", "University of Lille, France"),
    ("Hospital Clínico San Carlos, Madrid, Spain", "Hospital Universitario La Paz, Madrid, Spain"),
]


@dataclass(frozen=True)
class Prepared:
    """Pairs of strings as pairs of main mentions, and for each pair where it stands."""

    forms: Forms
    pairs: CandidatePairs
    row: list[int]


def prepared(given: Sequence[tuple[str, str]]) -> Prepared:
    mentions = parse(clean(fold_values([s for pair in given for s in pair]).affiliations))
    forms = normalize(mentions)
    raw = mentions.affiliations.affiliation
    number = {raw[a]: i for i, a in enumerate(mentions.affiliation.tolist()) if forms.is_main[i]}
    ends = [tuple(sorted((number[a], number[b]))) for a, b in given]
    order = sorted(set(ends))
    left, right = np.array(order, np.int64).reshape(-1, 2).T
    n = len(order)
    pairs = CandidatePairs(left, right, np.ones(n, np.float32), np.ones(n, np.uint8))
    return Prepared(forms, pairs, [order.index(end) for end in ends])


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepared(TRUE + SIBLINGS)


@dataclass
class Spy:
    """A rescorer that remembers what it was asked, and answers with the length of the left text."""

    name: str = "spy"
    combination: Combination | None = None
    band: tuple[float, float] = (0.1, 0.9)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def rescore(
        self,
        features: PairFeatures,
        left: np.ndarray,
        right: np.ndarray,
        on_progress: Callable[..., None] | None = None,
    ) -> np.ndarray:
        context = features.forms.context
        self.asked.extend((context[a], context[b]) for a, b in zip(left, right, strict=True))
        return np.array([float(len(context[i])) for i in left])


def run(data: Prepared, settings: ScoringSettings, rescorer: Spy | None = None) -> ScoredPairs:
    settings = replace(settings, reranker="none")
    return score(data.forms, data.pairs, fit_vocabulary(data.forms), settings, rescorer=rescorer)


def test_the_shipped_model_ranks_variants_above_siblings(data: Prepared) -> None:
    logit = run(data, ScoringSettings()).logit[data.row]
    true, sibling = logit[: len(TRUE)], logit[len(TRUE) :]
    auc = np.mean(true[:, None] > sibling[None, :])
    assert auc >= 0.9
    assert np.median(true) > 2
    assert np.median(sibling) < -1


def test_without_a_rescorer_nothing_is_rescored(data: Prepared) -> None:
    found = run(data, ScoringSettings())
    assert np.isnan(found.rescored).all()
    assert found.left is data.pairs.left
    assert np.array_equal(found.similarity, data.pairs.similarity)


def test_only_pairs_in_the_band_are_rescored(data: Prepared) -> None:
    spy = Spy()
    found = run(data, ScoringSettings(rescoring_band=(0.2, 0.8)), spy)
    probability = 1 / (1 + np.exp(-found.logit))
    in_band = (probability >= 0.2) & (probability <= 0.8)
    assert 0 < in_band.sum() < len(in_band)
    assert np.array_equal(~np.isnan(found.rescored), in_band)
    context = data.forms.context
    ends = zip(found.left[in_band].tolist(), found.right[in_band].tolist(), strict=True)
    assert spy.asked == [(context[a], context[b]) for a, b in ends]
    # Each answer stands at its own pair.
    lengths = [len(context[i]) for i in found.left[in_band].tolist()]
    assert found.rescored[in_band].tolist() == lengths


def test_all_pairs_are_rescored_on_demand(data: Prepared) -> None:
    found = run(data, ScoringSettings(rescoring="all"), Spy())
    assert not np.isnan(found.rescored).any()
    assert np.array_equal(found.logit, run(data, ScoringSettings()).logit)


def test_the_most_doubtful_are_rescored_first(data: Prepared) -> None:
    found = run(data, ScoringSettings(rescoring="all", rescoring_budget="5"), Spy())
    chosen = ~np.isnan(found.rescored)
    doubt = np.abs(1 / (1 + np.exp(-found.logit)) - 0.5)
    assert chosen.sum() == 5
    assert doubt[chosen].max() <= doubt[~chosen].min()


def test_doubtful_pairs_are_named_in_order_and_ties_go_to_the_first() -> None:
    logit = np.array([0.0, 9.0, 1.0, 0.0, -1.0])
    band = (0.1, 0.9)
    assert doubtful(logit, ScoringSettings(), band).tolist() == [0, 2, 3, 4]
    assert doubtful(logit, ScoringSettings(rescoring_budget="3 pairs"), band).tolist() == [0, 2, 3]
    assert doubtful(logit, ScoringSettings(rescoring="all"), band).tolist() == [0, 1, 2, 3, 4]
    assert doubtful(logit, ScoringSettings(rescoring_band=(0.5, 0.5)), band).tolist() == [0, 3]


def test_a_share_of_all_pairs_is_rescored(data: Prepared) -> None:
    found = run(data, ScoringSettings(rescoring="all", rescoring_budget="10%"), Spy())
    assert np.count_nonzero(~np.isnan(found.rescored)) == len(found) // 10


def test_time_is_spent_on_the_most_doubtful_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    probability = np.random.default_rng(0).random(10_000)
    budget, now = Budget.parse("2min"), [0.0]
    monkeypatch.setattr("pipeline.scoring.budget.time.monotonic", lambda: now[0])

    def work(part: np.ndarray) -> np.ndarray:
        now[0] += len(part) / 50  # Fifty pairs a second: 6,000 in two minutes.
        return np.ones(len(part))

    chosen = budget.cut(np.arange(10_000), probability, 10_000)
    done = np.concatenate([part for part, _ in budget.spend(chosen, work)])
    assert 5_500 < len(done) < 6_300
    rest = np.setdiff1d(np.arange(10_000), done)
    assert np.abs(probability[done] - 0.5).max() <= np.abs(probability[rest] - 0.5).min()
    assert [len(part) for part, _ in Budget().spend(np.arange(7), work)] == [7]
    assert not list(Budget().spend(np.arange(0), work))


def test_chunks_give_the_same_log_odds(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(data, ScoringSettings()).logit
    seen: list[tuple[int, int]] = []
    # The package exports the function under the name of its module.
    monkeypatch.setattr(import_module("pipeline.scoring.score"), "_CHUNK", 7)
    vocabulary = fit_vocabulary(data.forms)
    none = ScoringSettings(reranker="none")
    told = lambda done, n: seen.append((done, n))  # noqa: E731
    parts = score(data.forms, data.pairs, vocabulary, none, on_progress=told)
    n = len(data.pairs)
    assert np.array_equal(parts.logit, whole)
    assert seen == [(min(done, n), n) for done in range(7, n + 7, 7)]


def test_no_pairs_are_no_work() -> None:
    forms = prepared(TRUE[:1]).forms
    none = np.empty(0, np.int64)
    pairs = CandidatePairs(none, none, np.empty(0, np.float32), np.empty(0, np.uint8))
    spy = Spy()
    found = score(forms, pairs, fit_vocabulary(forms), ScoringSettings(rescoring="all"), rescorer=spy)
    assert len(found) == 0
    assert spy.asked == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rescoring_band": (0.9, 0.1)}, "rescoring_band"),
        ({"rescoring_band": (-0.1, 0.5)}, "rescoring_band"),
        ({"rescoring_band": (0.1, 1.5)}, "rescoring_band"),
        ({"rescoring_band": (0.5,)}, "rescoring_band"),
        ({"rescoring_band": ("low", "high")}, "rescoring_band"),
        ({"rescoring": "some"}, "'band' or 'all', got 'some'"),
        ({"device": "tpu"}, "auto, cpu or cuda, got 'tpu'"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"rescoring_budget": "-1"}, "rescoring_budget must be pairs"),
        ({"rescoring_budget": "101%"}, "rescoring_budget must be pairs"),
        ({"rescoring_budget": "1.5 pairs"}, "rescoring_budget must be pairs"),
        ({"rescoring_budget": "soon"}, "rescoring_budget must be pairs"),
        ({"max_length": 0}, "max_length must be 1 or more"),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScoringSettings(**wrong)


def test_a_missing_model_is_named(data: Prepared) -> None:
    with pytest.raises(UsageError, match=r"no such pair model: nowhere\.json"):
        run(data, ScoringSettings(model="nowhere.json"))
