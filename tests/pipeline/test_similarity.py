"""Similarity in bulk: the figures of a run, without one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline import UsageError, affiliation_similarity

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "affiliations.csv"
OXFORD, OX, ZURICH = "University of Oxford, UK", "Univ Oxford, Oxford, England", "ETH Zurich, Switzerland"

#: Columns have no share of matches of their own, and so a run has to leave its own out.
AT_LARGE = pipeline.Settings().with_values(calibration={"adapt_to_corpus": False})


def test_a_runs_pairs_have_the_figures_that_they_have_there() -> None:
    with EXAMPLE.open(encoding="utf-8", newline="") as file:
        strings = [row["affiliation"] for row in csv.DictReader(file)]
    found = pipeline.resolve(strings, AT_LARGE)
    main = found.mentions[found.mentions["role"] == "main"].set_index("mention_id")["affiliation"]
    pairs = found.pairs[found.pairs["left_mention_id"].isin(main.index)]
    pairs = pairs[pairs["right_mention_id"].isin(main.index)]
    assert len(pairs) > 1000
    left, right = (pairs[f"{side}_mention_id"].map(main) for side in ("left", "right"))
    told = affiliation_similarity(left, right, among=strings)
    np.testing.assert_allclose(told, pairs["probability"], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([OXFORD, OX, ZURICH, "", None, "12345"])] * 2), max_size=8))
def test_rows_are_judged_alone_and_sides_do_not_matter(rows: list[tuple[str | None, str | None]]) -> None:
    among = [OXFORD, OX, ZURICH]
    left, right = [a for a, _ in rows], [b for _, b in rows]
    told = affiliation_similarity(left, right, among=among)
    assert told.shape == (len(rows),)
    np.testing.assert_array_equal(told, affiliation_similarity(right, left, among=among))
    for (a, b), p in zip(rows, told.tolist(), strict=True):
        assert np.isnan(p) == (a not in among or b not in among)
        if not np.isnan(p):
            assert (p == 1) == (a == b)
            assert 0 <= p <= 1


def test_one_institution_is_likelier_than_two() -> None:
    told = affiliation_similarity(pd.Series([OXFORD, OXFORD]), [OX, ZURICH])
    assert told[0] > 0.9 > 0.1 > told[1]


def test_a_reranker_has_its_say_as_in_a_run(reranker: Path) -> None:
    chosen = AT_LARGE.with_values(scoring={"reranker": str(reranker), "rescoring": "all"})
    found = pipeline.resolve([OXFORD, OX, ZURICH], chosen)
    pairs = found.pairs.iloc[0]
    main = found.mentions.set_index("mention_id")["affiliation"]
    row = [main[pairs["left_mention_id"]]], [main[pairs["right_mention_id"]]]
    told = affiliation_similarity(*row, chosen, among=[OXFORD, OX, ZURICH])
    assert told[0] == pytest.approx(pairs["probability"], abs=1e-5)
    assert told[0] != pytest.approx(affiliation_similarity(*row)[0], abs=1e-5)


def test_what_is_no_pair_of_columns_is_refused() -> None:
    with pytest.raises(UsageError, match="2 strings on the left, 1 on the right"):
        affiliation_similarity([OXFORD, OX], [OX])
    with pytest.raises(UsageError, match="not one string"):
        affiliation_similarity(OXFORD, OX)
    with pytest.raises(UsageError, match="type int"):
        affiliation_similarity([1], [OX])  # type: ignore[list-item]
