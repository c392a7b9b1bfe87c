"""The nouns: what flows from stage to stage. Columns for millions of rows, one attribute a column."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blocking.merging import Merging
from pipeline.errors import AffilError

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
#: Called with (items done, items in all) by long stages; the CLI draws a bar from it.
Progress = Callable[[int, int], None]

MAIN, PARENT, PARTNER = "main", "parent", "partner"


def affiliation_id(raw: str) -> str:
    """Id of a raw string: `a` and the first 16 hex digits of its MD5, so that input order does not matter.

    The same as DuckDB's `'a' || md5(raw)[:16]`, which is what folding uses.
    """
    return "a" + hashlib.md5(raw.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:16]


@dataclass(frozen=True)
class Affiliations:
    """Distinct raw strings, ordered by `affiliation_id`; raw is never altered."""

    affiliation_id: list[str]
    affiliation: list[str]
    n_occurrences: Int64s

    def __post_init__(self) -> None:
        if not len(self.affiliation_id) == len(self.affiliation) == len(self.n_occurrences):
            raise AffilError("affiliations need columns of one length")

    def __len__(self) -> int:
        return len(self.affiliation)


@dataclass(frozen=True)
class SetAside:
    """What was taken out of the data path, and why; nothing is dropped in silence.

    `string` is the whole raw string (`is_whole`) or the piece that was cut from it (an e-mail, a person's
    name …); `affiliation` is the number of the string in `Affiliations`, -1 where the string never got there.
    """

    string: list[str]
    reason: list[str]
    n_occurrences: list[int]
    is_whole: list[bool]
    affiliation: list[int]

    def __len__(self) -> int:
        return len(self.string)

    def __add__(self, other: SetAside) -> SetAside:
        return SetAside(
            self.string + other.string,
            self.reason + other.reason,
            self.n_occurrences + other.n_occurrences,
            self.is_whole + other.is_whole,
            self.affiliation + other.affiliation,
        )

    @classmethod
    def empty(cls) -> SetAside:
        """Nothing set aside."""
        return cls([], [], [], [], [])


@dataclass(frozen=True)
class Cleaned:
    """One repaired text for each affiliation; `""` where the whole string was set aside."""

    affiliations: Affiliations
    text: list[str]
    set_aside: SetAside

    def __post_init__(self) -> None:
        if len(self.text) != len(self.affiliations):
            raise AffilError("cleaning must give one text for each affiliation")


@dataclass(frozen=True, slots=True)
class Mention:
    """One organisation as one string names it. `organization` is `""` where the string names none."""

    organization: str
    role: str = MAIN
    units: tuple[str, ...] = ()
    city: str | None = None
    region: str | None = None
    country_code: str | None = None
    #: The text that the mention is compared by: for the main mention the whole string.
    context: str = ""
    acronyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mentions:
    """Mentions in the order of their affiliations: one or more for each text with letters, one main each.

    `affiliation` holds the number of the affiliation, shape (n,), non-decreasing.
    """

    affiliations: Affiliations
    affiliation: Int64s
    mention: list[Mention]
    set_aside: SetAside = field(default_factory=SetAside.empty)

    def __post_init__(self) -> None:
        if len(self.affiliation) != len(self.mention):
            raise AffilError("mentions need one affiliation number each")
        if len(self.affiliation) and np.any(np.diff(self.affiliation) < 0):
            raise AffilError("mentions must be in the order of their affiliations")
        mains = [m.role == MAIN for m in self.mention]
        if not np.array_equal(self.affiliation[np.array(mains, bool)], np.unique(self.affiliation)):
            raise AffilError("every affiliation with mentions needs exactly one main mention")

    def __len__(self) -> int:
        return len(self.mention)


@dataclass(frozen=True)
class KnownRecords:
    """What a table of known names says of mentions, one entry a mention; records are numbers of that table.

    Attributes:
        organization: records that the organisation is called by.
        within: records that a part of its name is called by, where the whole is not known.
        mentioned: records that are named anywhere in its context.
        country_code, city: place, and where the string names none that of its only record.
        table: the table: "built-in", or its folder.
    """

    organization: list[tuple[int, ...]]
    within: list[tuple[int, ...]]
    mentioned: list[tuple[int, ...]]
    country_code: list[str | None]
    city: list[str | None]
    table: str

    def joined(self, *others: KnownRecords) -> KnownRecords:
        """What one table says of these and of other mentions, one after the other."""
        names = [f.name for f in fields(KnownRecords) if f.name != "table"]
        columns: dict[str, Any] = {
            name: [value for known in (self, *others) for value in getattr(known, name)] for name in names
        }
        return KnownRecords(**columns, table=self.table)


@dataclass(frozen=True)
class Forms:
    """What models compare, one entry a mention.

    Attributes:
        display: organisation for people ("" where the string names none).
        context: compare form of the text that the mention is compared by.
        organization: compare form of the organisation ("" where there is none).
        concept: the organisation with translations and inflections of one concept made equal.
        context_concept: the same of the context.
        units: compare form of the subordinate units.
        acronyms: upper-case acronyms that the string states for the organisation.
        city, region, country_code: place, None where unknown.
        is_main: whether the mention is its string's main one.
        keys: for each key rule, the keys of every mention (blocking pairs up equal ones).
        known: what a table of known names says of each mention, None without one.
    """

    display: list[str]
    context: list[str]
    organization: list[str]
    concept: list[str]
    context_concept: list[str]
    units: list[str]
    acronyms: list[tuple[str, ...]]
    city: list[str | None]
    region: list[str | None]
    country_code: list[str | None]
    is_main: npt.NDArray[np.bool_]
    keys: dict[str, list[tuple[str, ...]]]
    known: KnownRecords | None = None

    def __len__(self) -> int:
        return len(self.context)

    def joined(self, other: Forms) -> Forms:
        """These and other mentions, one after the other, without keys."""
        names = [f.name for f in fields(Forms) if f.name not in ("is_main", "keys", "known")]
        columns: dict[str, Any] = {name: [*getattr(self, name), *getattr(other, name)] for name in names}
        known = self.known.joined(other.known) if self.known and other.known else None
        is_main = np.concatenate([self.is_main, other.is_main])
        return Forms(**columns, is_main=is_main, keys={}, known=known)

    @property
    def concepts(self) -> list[str]:
        """All concept tokens of each mention, those of its organisation after those of its context."""
        return [f"{c} {o}".strip() for c, o in zip(self.context_concept, self.concept, strict=True)]

    @property
    def views(self) -> dict[str, list[str]]:
        """Texts that neighbours are sought by, one list a rule; "" takes no part: no organisation."""
        context = [c if o else "" for c, o in zip(self.context, self.organization, strict=True)]
        return {"neighbours": context, "organization_neighbours": self.concept}


@dataclass(frozen=True)
class Combination:
    """How the log-odds of the feature model and of a reranker become calibrated ones: a weighted sum."""

    features: float
    reranker: float
    intercept: float

    def apply(self, logit: Float64s, rescored: Float64s) -> Float64s:
        """Log-odds of both models, shape (n,), to calibrated ones."""
        return self.features * logit + self.reranker * rescored + self.intercept


@dataclass(frozen=True)
class ScoredPairs:
    """Candidate pairs with a model's raw output beside the similarity; nothing is overwritten.

    Attributes:
        left, right: mention numbers, left < right.
        similarity: cosine that blocking measured.
        rule: bit set of the rules that proposed the pair.
        logit: log-odds of the feature model.
        rescored: logit of the reranker, NaN where it was not asked.
        combination: how both logits of a rescored pair become one; None leaves it to the settings.
    """

    left: Int64s
    right: Int64s
    similarity: npt.NDArray[np.float32]
    rule: npt.NDArray[np.uint8]
    logit: Float64s
    rescored: Float64s
    combination: Combination | None = None

    def __post_init__(self) -> None:
        columns = (self.left, self.right, self.similarity, self.rule, self.logit, self.rescored)
        if len({len(c) for c in columns}) != 1:
            raise AffilError("scored pairs need columns of one length")
        if len(self.left) and not np.all(self.left < self.right):
            raise AffilError("scored pairs need left < right")

    def __len__(self) -> int:
        return len(self.left)

    def joined(self, other: ScoredPairs) -> ScoredPairs:
        """These and other pairs, ordered by (left, right)."""
        if not len(other):
            return self
        merging = Merging.of((self.left, self.right), (other.left, other.right))

        def merged(name: str) -> Any:
            own, others = getattr(self, name), getattr(other, name)
            if own.strides == others.strides == (0,):
                return not_rescored(len(self) + len(other))
            return merging.column(own, others)

        names = ("left", "right", "similarity", "rule", "logit", "rescored")
        ordered: dict[str, Any] = {name: merged(name) for name in names}
        return ScoredPairs(**ordered, combination=self.combination)


def not_rescored(n: int) -> Float64s:
    """What `ScoredPairs.rescored` is where no reranker was asked: NaN for all pairs, in the room of one."""
    return np.broadcast_to(np.float64(np.nan), (n,))


@dataclass(frozen=True)
class Matches:
    """Scored pairs with the calibrated probability that both mentions are one institution.

    `shift` is what the share of matches in the corpus added to all log-odds.
    """

    pairs: ScoredPairs
    probability: Float64s
    shift: float = 0.0

    def __post_init__(self) -> None:
        if len(self.probability) != len(self.pairs):
            raise AffilError("matches need one probability a pair")
        if len(self.probability) and not (self.probability.min() >= 0 and self.probability.max() <= 1):
            raise AffilError("a match probability must lie between 0 and 1")

    def __len__(self) -> int:
        return len(self.probability)


class RelatedRecord(NamedTuple):
    """A record before or after another: `year` is the last of an earlier, the first of a later one."""

    id: str
    name: str
    year: int | None


@dataclass(frozen=True, slots=True)
class RegistryRecord:
    """What a registry says of an institution.

    Attributes:
        id: as published.
        name: the name that the registry displays.
        probability: that the institution is this record, 0 to 1.
        names: every name of the record with its language (ISO 639-1, None where the registry has none).
        latitude, longitude: degrees north and east (WGS 84).
        established: year.
        types, domains, links: as published.
        external_ids: `system:identifier`, such as `isni:0000000121138138`.
        parent_ids, child_ids: ids of records that it is a part of, and that are parts of it.
        earlier, later: the closed records that it stands for, oldest first, and those that followed it.
    """

    id: str
    name: str
    probability: float
    names: tuple[tuple[str, str | None], ...]
    city: str | None
    region: str | None
    country_code: str | None
    latitude: float | None
    longitude: float | None
    established: int | None
    types: tuple[str, ...]
    domains: tuple[str, ...]
    links: tuple[str, ...]
    external_ids: tuple[str, ...]
    parent_ids: tuple[str, ...]
    child_ids: tuple[str, ...]
    earlier: tuple[RelatedRecord, ...]
    later: tuple[RelatedRecord, ...]
