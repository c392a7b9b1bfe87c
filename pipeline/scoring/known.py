"""Features from known names: whether the records that two mentions name are one, related, or others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pipeline.known_names import KnownNames
from pipeline.records import Forms, Int64s

Float32s = npt.NDArray[np.float32]

#: In the order in which `KnownFeatures.of` is documented.
KNOWN_NAMES = (
    "known_country",
    "known_city",
    "known_organization",
    "known_related",
    "n_known",
    "n_known_within",
    "known_shared",
    "known_elsewhere",
)
#: What `two_records` is called among the summands of a pair's log-odds.
TWO_RECORDS = "known_as_two"
#: Log-odds of pairs that are known as two records. Labels hardly teach the scorer this: such pairs are few,
#: and publishers' labels mix the two up (`benchmarks/quality.py` prints the quality without it).
_TWO_RECORDS_LOG_ODDS = -2.0


@dataclass(frozen=True)
class KnownFeatures:
    """Records of every mention, as tables that pairs are looked up in.

    Attributes:
        country, city: numbers of the places, -1 for unknown, shape (n,).
        organization: binary, sparse, shape (n, n records): what the organisation is called by.
        either: the same, or what a part of its name is called by.
        related: records related to these.
        mentioned: records named anywhere.
    """

    country: Int64s
    city: Int64s
    organization: Any
    either: Any
    related: Any
    mentioned: Any

    @classmethod
    def of_forms(cls, forms: Forms) -> KnownFeatures:
        """Forms to the tables; without a table of known names nothing is known but the places."""
        known = forms.known
        if known is None:
            nothing = sparse.csr_array((len(forms), 1), dtype=np.float32)
            return cls(coded(forms.country_code), coded(forms.city), *[nothing] * 4)
        names = KnownNames.load(known.table)
        n = len(names)
        organization = _table(known.organization, n)
        either = (organization + _table(known.within, n)).tocsr()
        mentioned = _table(known.mentioned, n)
        related = (either @ names.related).tocsr()
        return cls(coded(known.country_code), coded(known.city), organization, either, related, mentioned)

    def of(self, left: Int64s, right: Int64s) -> dict[str, Float32s]:
        """Features of pairs, shape (n pairs,) each, symmetric in left and right.

        known_country, known_city: 1 equal, -1 others, 0 unknown; as the strings have them or their records.
        known_organization: 1 where both are called by one record, -1 by others, 0 where one is not known.
        known_related: the same with parts of names, and 2 where the registry relates the records.
        n_known, n_known_within: how many sides are known, as a whole, or by a part of their name.
        known_shared: share of the records named on either side that are named on both, -1 where both name
            none, -0.5 where one does.
        known_elsewhere: sides whose organisation the other names anywhere; -1 where neither is known.
        """
        own_l, own_r = self.organization[left], self.organization[right]
        any_l, any_r = self.either[left], self.either[right]
        all_l, all_r = self.mentioned[left], self.mentioned[right]
        n_l, n_r, n_any_l, n_any_r, n_all_l, n_all_r = map(_sizes, (own_l, own_r, any_l, any_r, all_l, all_r))
        is_one, is_either = _meet(own_l, own_r) > 0, _meet(any_l, any_r) > 0
        is_related = _meet(self.related[left], any_r) > 0
        shared = _meet(all_l, all_r)
        found = {
            "known_country": agreement(self.country, left, right),
            "known_city": agreement(self.city, left, right),
            "known_organization": np.where((n_l > 0) & (n_r > 0), np.where(is_one, 1, -1), 0),
            "known_related": np.where(
                (n_any_l > 0) & (n_any_r > 0), np.where(is_either, 1, np.where(is_related, 2, -1)), 0
            ),
            "n_known": (n_l > 0) * 1 + (n_r > 0),
            "n_known_within": ((n_any_l > 0) & (n_l == 0)) * 1 + ((n_any_r > 0) & (n_r == 0)),
            "known_shared": np.where(
                (n_all_l > 0) & (n_all_r > 0),
                shared / np.maximum(n_all_l + n_all_r - shared, 1),
                np.where((n_all_l > 0) | (n_all_r > 0), -0.5, -1),
            ),
            "known_elsewhere": np.where(
                (n_l > 0) | (n_r > 0), (_meet(own_l, all_r) > 0) * 1 + (_meet(all_l, own_r) > 0), -1
            ),
        }
        return {name: values.astype(np.float32) for name, values in found.items()}


def two_records(values: Float32s, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """What speaks against pairs whose organisations are known as two: the log-odds to add, shape (n pairs,).

    Both are called by names of records that are not related, and neither string names the other's. These are
    in two cities (University of Washington, Washington University in St. Louis), or in one and differ in name
    but not in class (Vrije Universiteit Brussel, Université Libre de Bruxelles): a school or a hospital that
    has a record goes by its university's name.

    Args:
        values: features of pairs, shape (n pairs, len(names)).
        names: of the features.
    """
    column = dict(zip(names, values.T, strict=True))
    are_others = (column["known_organization"] == -1) & (column["known_related"] == -1)
    are_others &= column["known_elsewhere"] == 0
    is_one_kind = (column["same_class"] == 1) & (column["same_organization"] == 0)
    is_two = (column["known_city"] == -1) | ((column["known_city"] == 1) & is_one_kind)
    return np.where(are_others & is_two, _TWO_RECORDS_LOG_ODDS, 0.0)


def coded(values: Sequence[str | None]) -> Int64s:
    """Values to numbers, -1 for None."""
    number: dict[str, int] = {}
    return np.array([-1 if v is None else number.setdefault(v, len(number)) for v in values], np.int64)


def agreement(codes: Int64s, left: Int64s, right: Int64s) -> Float32s:
    """1 where both are known and equal, -1 where both are known and differ, else 0."""
    a, b = codes[left], codes[right]
    return np.where((a >= 0) & (b >= 0), np.where(a == b, 1, -1), 0).astype(np.float32)


def _table(records: Sequence[tuple[int, ...]], n: int) -> Any:
    ends = np.cumsum([0, *map(len, records)])
    columns = np.array([r for own in records for r in own], np.int64)
    return sparse.csr_array((np.ones(len(columns), np.float32), columns, ends), shape=(len(records), n))


def _sizes(table: Any) -> Int64s:
    found: Int64s = np.diff(table.indptr)
    return found


def _meet(left: Any, right: Any) -> Float32s:
    """How many columns the rows of two tables share."""
    return np.asarray((left.multiply(right) != 0).sum(axis=1), np.float32).ravel()
