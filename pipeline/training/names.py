"""Make the table of known names from a registry: records in, hashes of their names out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.concepts import concept_tokens
from pipeline.errors import UsageError
from pipeline.known_names import FILE, made_of
from pipeline.linking.names import bare_name, place_name
from pipeline.records import Int64s
from pipeline.registry import Registry, short_id
from pipeline.text import compare
from pipeline.training.renderings import read_left_out


def train_names(registry: Path, output: Path, left_out: Path | None = None) -> Iterator[str]:
    """A registry to the table in `output`; yields a line a step.

    Names of a closed record become those of the record that stands for it, where one does.

    Args:
        registry: file of `affil registry import`.
        output: folder for the table.
        left_out: TSV with ror_id and fold; records of fold `names-test` are not read.

    Raises:
        UsageError: a file that is missing or of another form.
    """
    records, unseen = Registry.read(registry), read_left_out(left_out)
    is_read = np.array([short_id(i) not in unseen for i in records.id], bool)
    current = np.where(records.current >= 0, records.current, np.arange(len(records)))
    kept = np.flatnonzero(is_read & is_read[current] & (current == np.arange(len(records))))
    if not len(kept):
        raise UsageError(f"{registry}: no record to learn names of")
    number = np.full(len(records), -1)
    number[kept] = np.arange(len(kept))
    stands_for = np.where(is_read, number[current], -1)
    names = _names(records, stands_for)
    yield f"{len(kept):,} records, {len(names):,} distinct names"
    country, city = records.place("country_code"), records.place("city")
    places = [(country[i], place_name(city[i], country[i])) for i in kept.tolist()]
    names |= without_city(names, [city for _, city in places])
    is_current = [records.status[i] == "active" for i in kept.tolist()]
    made_of(names, places, is_current, _relation(records, stands_for)).save(output)
    yield f"written: {output / FILE}, {(output / FILE).stat().st_size / 1e6:.1f} MB"


def _names(records: Registry, stands_for: Int64s) -> dict[tuple[str, ...], set[int]]:
    """Concept tokens of every name to the numbers that records so called have in the table."""
    found: dict[tuple[str, ...], set[int]] = {}
    numbers = stands_for[records.names.record].tolist()
    for value, number in zip(records.names.value, numbers, strict=True):
        tokens = tuple(concept_tokens(compare(bare_name(value))))
        if tokens and number >= 0:
            found.setdefault(tokens, set()).add(number)
    return found


def without_city(
    names: dict[tuple[str, ...], set[int]], city: Sequence[str | None]
) -> dict[tuple[str, ...], set[int]]:
    """Names to those that they leave without their city, where they are another record's but for the order.

    `Washington University in St. Louis` is called Washington University, too, and the one in Seattle, the
    University of Washington, is not. A name that some record has in this very order is left as it is.
    """
    places = [tuple(concept_tokens(compare(name))) if name else () for name in city]
    called: dict[tuple[str, ...], set[int]] = {}
    for tokens, records in names.items():
        called.setdefault(tuple(sorted(tokens)), set()).update(records)
    found: dict[tuple[str, ...], set[int]] = {}
    for tokens, records in names.items():
        for record in records:
            place = places[record]
            short = tokens[: -len(place)] if place and tokens[-len(place) :] == place else ()
            if len(short) > 1 and short not in names and called.get(tuple(sorted(short)), set()) - {record}:
                found.setdefault(short, set()).add(record)
    return found


def _relation(records: Registry, stands_for: Int64s) -> list[tuple[int, int]]:
    """Pairs of numbers of related records, the smaller first."""
    left, right = stands_for[records.edges.source], stands_for[records.edges.target]
    is_known = (left >= 0) & (right >= 0) & (left != right)
    low, high = np.minimum(left, right)[is_known], np.maximum(left, right)[is_known]
    return list(zip(low.tolist(), high.tolist(), strict=True))
