"""Review: the pairs of a run that are most worth a person's minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.clustering import ClusteringSettings
from pipeline.explanation import spanning_forest
from pipeline.judgements import Judgements, hold
from pipeline.records import Float64s, Int64s

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.clustering import Constraints
    from pipeline.tables import RunFrames

TOGETHER, APART = "one institution", "two institutions"


def worth_asking(frames: RunFrames, n: int = 100, settings: ClusteringSettings | None = None) -> pd.DataFrame:
    """The `n` pairs of a run whose answers are expected to put most occurrences right, best first.

    Expected gain = probability that the run is wrong × occurrences that an answer moves: those of the smaller
    side. Inside an institution the questions are the links of the tree that holds it together (the run is
    wrong with 1 − the link's probability, and an answer parts the two sides); between two institutions, their
    most probable pair (wrong with the mean probability of all their pairs, as average linkage takes it: pairs
    that were never compared count as `settings` say; an answer joins both). Pairs that judgements have
    settled are not asked again.

    The mean of the compared pairs alone is three to ten times too high where one of the two is large.

    Returns:
        One row a pair: the columns of a file of judgements, `verdict` empty, then `now`, `probability` (that
        both sides are one), `n_occurrences` (moved by an answer), `expected_gain`, and what both sides are.
    """
    import pandas as pd

    mentions = frames.mentions
    number = pd.Series(np.arange(len(mentions)), index=mentions["mention_id"])
    left = number.loc[frames.pairs["left_mention_id"]].to_numpy(np.int64)
    right = number.loc[frames.pairs["right_mention_id"]].to_numpy(np.int64)
    probability = frames.pairs["probability"].to_numpy(np.float64)
    entity = pd.factorize(mentions["entity_id"])[0].astype(np.int64)
    weight = mentions["n_occurrences"].to_numpy(np.float64)
    held = _settled(frames)
    inside = entity[left] == entity[right]
    asked = pd.concat(
        [
            _inside(left[inside], right[inside], probability[inside], weight, held),
            _between(
                left[~inside],
                right[~inside],
                probability[~inside],
                weight,
                entity,
                held,
                settings or ClusteringSettings(),
            ),
        ],
        ignore_index=True,
    )
    wrong = np.where(asked["now"] == TOGETHER, 1 - asked["probability"], asked["probability"])
    asked["expected_gain"] = wrong * asked["n_occurrences"]
    order = np.lexsort([asked["right"], asked["left"], -asked["expected_gain"]])[:n]
    return _with_texts(asked.iloc[order].reset_index(drop=True), frames)


def _settled(frames: RunFrames) -> Constraints:
    said = Judgements.from_frame(frames.judgements)
    return hold(said, frames.mentions["mention_id"].tolist()).constraints


def _inside(
    left: Int64s, right: Int64s, probability: Float64s, weight: Float64s, held: Constraints
) -> pd.DataFrame:
    """Links of the trees that hold institutions together; must-links hold them first."""
    import pandas as pd

    n, n_pairs = len(weight), len(left)
    low, high = np.minimum(held.must_left, held.must_right), np.maximum(held.must_left, held.must_right)
    edges = pd.DataFrame(
        {
            "left": np.concatenate([low, left]),
            "right": np.concatenate([high, right]),
            "probability": np.concatenate([np.ones(len(low)), probability]),
            "is_asked": np.arange(len(low) + n_pairs) >= len(low),
        }
    ).drop_duplicates(["left", "right"], ignore_index=True)
    a, b = edges["left"].to_numpy(np.int64), edges["right"].to_numpy(np.int64)
    tree = spanning_forest(a, b, edges["probability"].to_numpy(np.float64), n)
    edges = edges.iloc[tree].assign(n_occurrences=smaller_sides(a[tree], b[tree], weight), now=TOGETHER)
    return edges[edges["is_asked"]].drop(columns="is_asked")


def smaller_sides(left: Int64s, right: Int64s, weight: Float64s) -> Float64s:
    """For each edge of a forest the weight of the lighter part of the two that it joins, shape (n edges,)."""
    from scipy import sparse
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    n = len(weight)
    graph = sparse.csr_array((np.ones(len(left)), (left, right)), shape=(n, n))
    tree = connected_components(graph, directed=False)[1]
    roots = np.unique(tree, return_index=True)[1]
    # One more node above all roots, so that one walk sees every tree.
    rooted = sparse.csr_array(
        (np.ones(len(left) + len(roots)), (np.r_[left, np.full(len(roots), n)], np.r_[right, roots])),
        shape=(n + 1, n + 1),
    )
    order, above = breadth_first_order(rooted, n, directed=False)
    below = np.append(weight, 0.0)
    for node in order[:0:-1].tolist():
        below[above[node]] += below[node]
    child = np.where(above[right] == left, right, left)
    part: Float64s = below[child]
    whole = np.bincount(tree, weight)[tree[child]] if n else part
    return np.minimum(part, whole - part)


def _between(
    left: Int64s,
    right: Int64s,
    probability: Float64s,
    weight: Float64s,
    entity: Int64s,
    held: Constraints,
    settings: ClusteringSettings,
) -> pd.DataFrame:
    """For each two institutions with compared pairs the most probable one, with the mean of all pairs."""
    import pandas as pd

    n_entities = int(entity.max(initial=-1)) + 1

    def couple(a: Int64s, b: Int64s) -> Int64s:
        low, high = np.minimum(entity[a], entity[b]), np.maximum(entity[a], entity[b])
        return low * max(n_entities, 1) + high

    pairs = pd.DataFrame(
        {"left": left, "right": right, "probability": probability, "couple": couple(left, right)}
    )
    pairs = pairs[~pairs["couple"].isin(couple(held.cannot_left, held.cannot_right))]
    if len(held.named) and len(pairs):
        known = np.full(n_entities, -1, np.int64)
        known[entity[held.named]] = held.identity
        low, high = (known[part] for part in np.divmod(pairs["couple"].to_numpy(np.int64), n_entities))
        pairs = pairs[(low < 0) | (high < 0) | (low == high)]
    pairs = pairs.sort_values(["probability", "left", "right"], ascending=[False, True, True])
    best = pairs.drop_duplicates("couple").set_index("couple")
    of_couple = pairs.groupby("couple")["probability"]
    ends = [entity[best[side].to_numpy()] for side in ("left", "right")]
    n_members = np.bincount(entity, minlength=n_entities)
    n_compared = of_couple.size().loc[best.index].to_numpy()
    n_missing = settings.missing.weight_of(n_members[ends[0]], n_members[ends[1]], n_compared)
    total = of_couple.sum().loc[best.index].to_numpy() + settings.missing_pair_probability * n_missing
    size = np.bincount(entity, weight, n_entities)
    return best.assign(
        probability=total / (n_compared + n_missing),
        n_occurrences=np.minimum(size[ends[0]], size[ends[1]]),
        now=APART,
    ).reset_index(drop=True)


def _with_texts(asked: pd.DataFrame, frames: RunFrames) -> pd.DataFrame:
    import pandas as pd

    mentions = frames.mentions
    name = frames.institutions.set_index("entity_id")["preferred_name"]
    columns: dict[str, object] = {}
    for column, shown in (("{}_id", "mention_id"), ("{}", "affiliation")):
        for side in ("left", "right"):
            columns[column.format(side)] = mentions[shown].to_numpy()[asked[side]]
    columns |= dict.fromkeys(("verdict", "reason", "judged_by", "judged_at"))
    columns |= {"now": asked["now"], "probability": asked["probability"].round(4)}
    columns["n_occurrences"] = asked["n_occurrences"].astype(np.int64)
    columns["expected_gain"] = asked["expected_gain"].round(4)
    for side in ("left", "right"):
        columns[f"{side}_organization"] = mentions["organization"].to_numpy()[asked[side]]
        entity = mentions["entity_id"].to_numpy()[asked[side]]
        columns[f"{side}_institution"] = name.loc[entity].to_numpy()
    return pd.DataFrame(columns)
