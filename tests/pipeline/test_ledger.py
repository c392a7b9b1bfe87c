"""The ledger: ids that go on by overlap, and an account of every mention."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.consolidation import entity_id
from pipeline.errors import AffilError, UsageError
from pipeline.ledger import EVENTS, Event, Flows, Generation, Members, events, heirs, schema

#: Other processes may keep the machine busy.
unhurried = settings(deadline=None, max_examples=60)
#: Mention number → cluster number, of up to twelve mentions, not all of them there.
partitions = st.dictionaries(st.integers(0, 11), st.integers(0, 4), max_size=12)


def members(partition: dict[int, int], names: dict[int, str] | None = None) -> Members:
    """A partition with the ids that a run without a predecessor gives."""
    smallest: dict[int, int] = {}
    for mention, cluster in sorted(partition.items()):
        smallest.setdefault(cluster, mention)
    ids = {cluster: entity_id(f"a{mention:016}-0") for cluster, mention in smallest.items()}
    return Members(
        [f"a{m:016}-0" for m in partition],
        [ids[c] for c in partition.values()],
        {i: (names or {}).get(c, f"name {c}") for c, i in ids.items()},
    )


def followed(generation: Generation, new: Members) -> Generation:
    """The next generation: ids carried over, the ledger written on."""
    ids = generation._ids(new)
    carried = Members(
        new.mention_id, [ids[e] for e in new.entity_id], {ids[e]: name for e, name in new.name.items()}
    )
    ledger = generation.followed_by(carried, "f" * 16)
    rows = ledger.to_pylist()
    merged = {r["entity_id"]: r["other_id"] for r in rows if r["event"] == "merged"}
    return Generation(carried, ledger, generation.number + 1, "f" * 16, merged)


def first(partition: dict[int, int]) -> Generation:
    return Generation(members(partition), schema().empty_table())


def groups(of: Members) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for mention, entity in zip(of.mention_id, of.entity_id, strict=True):
        found.setdefault(entity, set()).add(mention)
    return found


@unhurried
@given(partitions, partitions)
def test_every_mention_of_both_runs_is_accounted_for(old: dict[int, int], new: dict[int, int]) -> None:
    before = first(old)
    after = followed(before, members(new))
    sizes: Counter[str] = Counter(before.members.entity_id)
    for row in after.ledger.to_pylist():
        n = row["n_mentions"]
        if row["event"] in ("born", "grown"):
            sizes[row["entity_id"]] += n
        elif row["event"] in ("shrunk", "ended"):
            sizes[row["entity_id"]] -= n
        elif row["event"] in ("merged", "split"):
            sizes[row["entity_id"]] -= n
            sizes[row["other_id"]] += n
    assert +sizes == Counter(after.members.entity_id)
    assert min(sizes.values(), default=0) >= 0


@unhurried
@given(partitions, partitions)
def test_carrying_over_changes_ids_and_nothing_else(old: dict[int, int], new: dict[int, int]) -> None:
    plain, after = members(new), followed(first(old), members(new)).members
    assert sorted(map(sorted, groups(plain).values())) == sorted(map(sorted, groups(after).values()))
    assert len(set(after.entity_id)) == len(set(plain.entity_id))


@unhurried
@given(partitions, partitions)
def test_the_same_again_keeps_every_id_and_writes_nothing(old: dict[int, int], new: dict[int, int]) -> None:
    once = followed(first(old), members(new))
    again = followed(once, members(new))
    assert again.members == once.members
    assert again.ledger == once.ledger


@unhurried
@given(partitions, partitions, st.randoms(use_true_random=False))
def test_the_order_of_mentions_does_not_matter(
    old: dict[int, int], new: dict[int, int], random: object
) -> None:
    def shuffled(of: Members) -> Members:
        rows = list(zip(of.mention_id, of.entity_id, strict=True))
        random.shuffle(rows)  # type: ignore[attr-defined]
        return Members([m for m, _ in rows], [e for _, e in rows], of.name)

    one, other = members(old), members(new)
    assert events(one, other) == events(shuffled(one), shuffled(other))


@unhurried
@given(partitions, partitions)
def test_ids_go_on_by_the_greatest_overlap(old: dict[int, int], new: dict[int, int]) -> None:
    flows = Flows.between(members(old), members(new))
    heir = heirs(flows)
    kept = heir[heir >= 0].tolist()
    assert len(kept) == len(set(kept))
    # No flow is greater than those that its two ends are bound by.
    size = {(o, c): n for o, c, n in zip(*(a.tolist() for a in flows.shared()), strict=True)}
    bound = {o: c for c, o in enumerate(heir.tolist()) if o >= 0}
    for (o, c), n in size.items():
        rivals = [size[o, bound[o]]] if o in bound else []
        rivals += [size[heir[c], c]] if heir[c] >= 0 else []
        assert rivals and n <= max(rivals)


@unhurried
@given(st.lists(partitions, min_size=2, max_size=5))
def test_an_id_that_was_ever_given_leads_somewhere_or_ended(runs: list[dict[int, int]]) -> None:
    now = first(runs[0])
    seen = set(now.members.entity_id)
    for run in runs[1:]:
        gone = set(now.merged)
        now = followed(now, members(run))
        assert not gone & set(now.members.entity_id), "an id that was merged away came back"
        seen |= set(now.members.entity_id)
    for one in seen:
        here = now.current(one)
        assert here is None or here in now.members.name


def kinds(old: dict[int, int], new: dict[int, int]) -> list[str]:
    return [row["event"] for row in followed(first(old), members(new)).ledger.to_pylist()]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {1: 1, 2: 1}, ["born"]),
        ({1: 1}, {1: 1, 2: 1, 3: 2}, ["born", "grown"]),
        ({1: 1, 2: 1, 3: 2}, {1: 1, 2: 1, 3: 1}, ["merged"]),
        ({1: 1, 2: 1, 3: 1}, {1: 1, 2: 1, 3: 2}, ["split", "renamed"][:1]),
        ({1: 1, 2: 1}, {1: 1}, ["shrunk"]),
        ({1: 1, 2: 2}, {1: 1}, ["ended"]),
    ],
)
def test_events_by_hand(old: dict[int, int], new: dict[int, int], expected: list[str]) -> None:
    assert kinds(old, new) == expected


def test_a_split_off_part_does_not_take_the_id_that_its_smallest_mention_would_give() -> None:
    # Mention 1 gave the id; mentions 2 and 3 keep it.
    before = first({1: 1, 2: 1, 3: 1})
    after = followed(before, members({1: 1, 2: 2, 3: 2}))
    kept = before.members.entity_id[0]
    of = dict(zip(after.members.mention_id, after.members.entity_id, strict=True))
    assert of[f"a{2:016}-0"] == kept != of[f"a{1:016}-0"]


def test_an_id_that_was_merged_twice_leads_to_the_last_heir() -> None:
    now = first({1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 3})
    smallest = now.members.entity_id[0]
    now = followed(now, members({1: 2, 2: 2, 3: 2, 4: 3, 5: 3, 6: 3}))
    middle = now.merged[smallest]
    now = followed(now, members({1: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3}))
    assert now.current(smallest) == now.current(middle) == now.members.entity_id[0]
    with pytest.raises(UsageError, match="ever had"):
        now.current("e0")


def test_a_name_that_changed_is_told() -> None:
    old, new = members({1: 1}, {1: "Univ"}), members({1: 1, 2: 1}, {1: "University"})
    assert events(old, new)[-1] == Event("renamed", old.entity_id[0], None, 2, "University", "Univ")
    assert [e.event for e in events(old, new)] == ["grown", "renamed"]


def test_events_come_in_one_order() -> None:
    found = kinds({1: 1, 2: 1, 3: 2, 4: 3, 5: 4}, {1: 1, 2: 2, 3: 1, 5: 4, 6: 4, 7: 9})
    assert found == sorted(found, key=EVENTS.index)


def test_members_need_one_entity_each() -> None:
    with pytest.raises(AffilError, match="one entity id"):
        Members(["a-0"], [], {})
