"""AffiliationIndex: new strings against a finished run, in less than a millisecond each, no clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from blocking import CandidatePairs, Encoder
from blocking.merging import joined as joined_pairs
from pipeline.calibration import calibrate
from pipeline.consolidation import mention_ids
from pipeline.errors import UsageError
from pipeline.folding import fold_values
from pipeline.index.candidates import Breadth, Candidates
from pipeline.index.columns import KEY_RULES, forms_of, id_number, mentions_table
from pipeline.index.store import Store, write_store
from pipeline.model_list import load_named_encoder
from pipeline.normalization import normalize
from pipeline.preparation import mentions_of
from pipeline.records import (
    MAIN,
    Affiliations,
    Float64s,
    Forms,
    Int64s,
    Matches,
    Mentions,
    Progress,
    affiliation_id,
)
from pipeline.rows import list_of, rows_from_values
from pipeline.run_folder import INDEX, read_frames, read_manifest, read_settings
from pipeline.scoring import PairRescorer, Vocabulary, frequencies, load_rescorer, score, token_frequencies
from pipeline.settings import Settings
from pipeline.stages import kept_mentions
from pipeline.tables import RunFrames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: What a lookup compares a string with: enough to find its institution, few enough for a millisecond. On the
#: tune fold these 11 pairs a string found what 75 did (precision .960, recall .955).
LOOKUP = Breadth({"neighbours": 6, "organization_neighbours": 4}, 3, 3)
#: Strings that are looked up at a time.
_CHUNK = 10_000
#: Pairs whose mean is the probability of an institution, the most probable ones. On the tune fold (60 % of
#: the strings in the index, the others looked up) the expected calibration error of the mean of three was
#: .014, of the most probable pair's .018, of the mean of all .039; precision and recall were the same.
N_SPEAKING = 3


#: What is told of an institution; a run without a registry has no ids of it.
_WHO = ("entity_id", "preferred_name", "registry_id")


class _Answer(NamedTuple):
    """What is told of one string."""

    entity_id: str | None
    preferred_name: str | None
    registry_id: str | None
    match_probability: float
    is_known: bool
    nearest: str | None
    alternatives: tuple[dict[str, Any], ...]


NO_ANSWER = _Answer(None, None, None, float("nan"), False, None, ())


@dataclass(frozen=True)
class AffiliationIndex:
    """What new strings are compared with: the mentions of a finished run.

    Attributes:
        run: the folder of the run.
        settings: its settings; new strings go the same way.
        store: the index on disk.
        shift: what the run's share of matches added to all log-odds.
    """

    run: Path
    settings: Settings
    store: Store
    shift: float = 0.0

    @classmethod
    def load(cls, run: str | Path, *, on_progress: Progress | None = None) -> AffiliationIndex:
        """The folder of a finished run in, its index out; made where there is none or one of another run.

        Args:
            run: the output folder of `affil resolve` or `affil add`.
            on_progress: called with (strings read, strings) while an index is made.

        Raises:
            UsageError: no finished run, an index that is broken or was made by another encoder.
            AffilError: the index cannot be written.
        """
        root = Path(run)
        settings = read_settings(root)
        manifest = read_manifest(root) or {}
        store = Store.open(root / INDEX)
        if store is None or store.head["run"] != manifest.get("fingerprint"):
            store = _build(root, settings, str(manifest.get("fingerprint")), on_progress)
        return cls(root, settings, store, float(manifest.get("calibration_shift", 0.0)))

    def __len__(self) -> int:
        return int(self.store.head["n_mentions"])

    @cached_property
    def candidates(self) -> Candidates:
        """What looks for candidate pairs."""
        return Candidates(self.store, self.store.encoder(self.settings), self.settings.blocking)

    @cached_property
    def _institutions(self) -> pa.Table:
        return self.store.table("institutions")

    @cached_property
    def rescorer(self) -> PairRescorer | None:
        """The reranker of the run, None for none."""
        return load_rescorer(self.settings.scoring)

    def matches(
        self,
        mentions: Mentions,
        forms: Forms,
        breadth: Breadth,
        within: CandidatePairs | None = None,
        *,
        encoder: Encoder | None = None,
        on_progress: Progress | None = None,
    ) -> Matches:
        """New mentions to their pairs with those of the index, and the match probability of each.

        In a pair `left` is a new mention; `right` one of the index, which count on from the new ones. Where
        the new ones stay, `within` holds pairs of them with each other: these are scored too, and words are
        as rare as in old and new mentions together, not as in the run. `encoder` as for candidates.
        """
        own = mentions_table(mentions, forms)
        keys = {rule: own.column(rule).to_pylist() for rule in KEY_RULES}
        pairs = self.candidates.of(forms.views, keys, breadth, encoder)
        n = len(mentions)
        used, right = np.unique(pairs.right, return_inverse=True)
        old = forms_of(self.store.mentions.take(used - n), self.settings.normalization.known_names)
        joined = forms.joined(old)
        near = CandidatePairs(pairs.left, n + right, pairs.similarity, pairs.rule)
        weights = self.vocabulary(joined, None if within is None else forms)
        if within is not None:
            near, pairs = joined_pairs(within, near), joined_pairs(within, pairs)
        asked = self.settings.scoring
        scored = score(joined, near, weights, asked, rescorer=self.rescorer, on_progress=on_progress)
        found = calibrate(scored, self.settings.calibration, self.shift)
        columns = vars(found.pairs) | {"right": pairs.right}
        return Matches(type(scored)(**columns), found.probability, found.shift)

    def vocabulary(self, forms: Forms, arrived: Forms | None = None) -> Vocabulary:
        """Weights of the tokens of some mentions: as rare as in the run, in `arrived` and in the prior."""
        prior, n_prior = token_frequencies(self.settings.scoring.model)
        known = self.store.frequency
        more = frequencies(arrived.concepts) if arrived else {}
        count = {
            token: max(known.get(token, 0) + more.get(token, 0), 1) + prior.get(token, 0)
            for token in frequencies(forms.concepts)
        }
        return Vocabulary.weighing(count, len(self) + len(arrived or ()) + n_prior)

    def lookup(self, strings: Sequence[str | None] | pd.Series[Any], k: int = 3) -> pd.DataFrame:
        """New strings to the institutions of the run that their main organisations are, a row a string.

        A string that the run has gets the answer that the run gave. Others are compared with the nearest
        mentions; nothing is clustered, and what is told of one does not depend on the others.

        Args:
            strings: a list or a pandas column; blank ones have no institution.
            k: institutions told of each string at most, the alternatives counted.

        Returns:
            `affiliation`, `entity_id`, `preferred_name`, `registry_id`, `match_probability` (all null where
            no institution reaches the run's threshold; the registry's id also where the run has none, and
            where it has one the name is the registry's), `is_known` (the run has this very string),
            `nearest` (the string of the run that speaks most for the institution), `alternatives` (a list of
            dicts with entity_id, preferred_name, registry_id, match_probability, the most probable first).

        Raises:
            UsageError: a value that is no string, `k` below 1.
        """
        import pandas as pd

        if k < 1:
            raise UsageError(f"k must be 1 or more, got {k}")
        texts = rows_from_values(strings)["affiliation"].to_pylist()
        distinct = list(dict.fromkeys(t for t in texts if t is not None))
        answers: dict[str | None, _Answer] = {}
        for start in range(0, len(distinct), _CHUNK):
            part = distinct[start : start + _CHUNK]
            answers.update(zip(part, self._answers(part, k), strict=True))
        found = [answers.get(text, NO_ANSWER) for text in texts]
        return pd.DataFrame(
            {
                "affiliation": pd.Series(texts, dtype=object),
                "entity_id": pd.Series([a.entity_id for a in found], dtype=object),
                "preferred_name": pd.Series([a.preferred_name for a in found], dtype=object),
                "registry_id": pd.Series([a.registry_id for a in found], dtype=object),
                "match_probability": np.array([a.match_probability for a in found], np.float64),
                "is_known": np.array([a.is_known for a in found], np.bool_),
                "nearest": pd.Series([a.nearest for a in found], dtype=object),
                "alternatives": pd.Series([list(a.alternatives) for a in found], dtype=object),
            }
        )

    def _answers(self, strings: Sequence[str], k: int) -> list[_Answer]:
        """Distinct strings to what is told of each."""
        row = self._rows(strings)
        found = self._compared([s for s, known in zip(strings, row >= 0, strict=True) if not known], k)
        known = self._known(row[row >= 0])
        both = dict(zip([s for s, i in zip(strings, row, strict=True) if i >= 0], known, strict=True)) | found
        return [both.get(s, NO_ANSWER) for s in strings]

    def _rows(self, strings: Sequence[str]) -> Int64s:
        """The main mention of strings that the run has, −1 for others, shape (n,)."""
        asked = np.array([id_number(affiliation_id(s)) for s in strings], np.uint64)
        ids = self.store.array("affiliation")
        at = np.minimum(np.searchsorted(ids, asked), max(len(ids) - 1, 0))
        is_there = ids[at] == asked if len(ids) else np.zeros(len(asked), bool)
        return np.where(is_there, at, -1).astype(np.int64)

    def _known(self, rows: Int64s) -> list[_Answer]:
        """What the run said of its own mentions."""
        table = self.store.mentions.select(["affiliation", "institution", "match_probability"]).take(rows)
        names = self._names(table.column("institution").to_numpy())
        probability = table.column("match_probability").to_pylist()
        rows_of = zip(names, probability, list_of(table.column("affiliation")), strict=True)
        return [_Answer(*who, p, True, text, ()) for who, p, text in rows_of]

    def _names(self, institution: Int64s) -> list[tuple[str, str, str | None]]:
        """Entity id, preferred name and id in the registry of institutions by number."""
        table = self._institutions.take(institution)
        return list(zip(*(list_of(table.column(column)) for column in _WHO), strict=True))

    def _compared(self, strings: Sequence[str], k: int) -> dict[str, _Answer]:
        """Strings that the run lacks to what their main mentions are; strings without one are left out."""
        every = mentions_of(fold_values(strings).affiliations, self.settings)
        is_main = np.array([m.role == MAIN for m in every.mention], bool)
        items = [m for m in every.mention if m.role == MAIN]
        mentions = Mentions(every.affiliations, every.affiliation[is_main], items)
        if not len(mentions) or not len(self):
            return {}
        matches = self.matches(mentions, normalize(mentions, self.settings.normalization), LOOKUP)
        old = matches.pairs.right - len(mentions)
        new, institution, probability, speaker = _by_institution(
            matches.pairs.left, self._institution_of[old], matches.probability, old, k
        )
        names = self._names(institution)
        nearest = list_of(self.store.mentions.column("affiliation").take(speaker))
        ends = np.searchsorted(new, np.arange(len(mentions) + 1)).tolist()
        raw = mentions.affiliations.affiliation
        least, found = self.settings.clustering.min_match_probability, dict[str, _Answer]()
        for i, string in enumerate(mentions.affiliation.tolist()):
            own = slice(ends[i], ends[i + 1])
            options = tuple(
                dict(zip(_WHO, who, strict=True)) | {"match_probability": p}
                for who, p in zip(names[own], probability[own].tolist(), strict=True)
            )
            if options and probability[ends[i]] >= least:
                first = int(ends[i])
                p = float(probability[first])
                found[raw[string]] = _Answer(*names[first], p, False, nearest[first], options[1:])
            else:
                found[raw[string]] = NO_ANSWER._replace(alternatives=options)
        return found

    @cached_property
    def _institution_of(self) -> Int64s:
        """The number of the institution of every mention, mapped."""
        column = self.store.mentions.column("institution").combine_chunks()
        return np.asarray(column.to_numpy(zero_copy_only=True))


def _by_institution(
    new: Int64s, institution: Int64s, probability: Float64s, old: Int64s, k: int
) -> tuple[Int64s, Int64s, Float64s, Int64s]:
    """Pairs to the `k` most probable institutions of each new mention.

    Returns:
        new mention, institution, its probability, the old mention that speaks most for it; in the order of
        the new mentions, the most probable institution first, ties by the mention that speaks for it.
    """
    order = np.lexsort([old, -probability, institution, new])
    new, institution, probability, old = new[order], institution[order], probability[order], old[order]
    is_first = np.r_[True, (np.diff(new) != 0) | (np.diff(institution) != 0)][: len(new)]
    first, group = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    speaks = np.arange(len(new)) - first[group] < N_SPEAKING
    n = np.bincount(group[speaks], minlength=len(first))
    mean = np.bincount(group[speaks], probability[speaks], len(first)) / np.maximum(n, 1)
    rank = np.lexsort([old[first], -mean, new[first]])
    first, mean = first[rank], mean[rank]
    place = np.arange(len(first)) - np.searchsorted(new[first], new[first])
    kept = place < k
    return new[first[kept]], institution[first[kept]], mean[kept], old[first[kept]]


def _build(root: Path, settings: Settings, run: str, on_progress: Progress | None) -> Store:
    """Write what new strings are compared with, from the stages of a run where they are kept."""
    frames = read_frames(root)
    mentions, forms = kept_mentions(root, settings) or _read_again(frames, settings, on_progress)
    if mention_ids(mentions) != frames.mentions["mention_id"].tolist():
        raise UsageError(f"{root}: this version reads its strings otherwise; resolve again")
    table = mentions_table(mentions, forms)
    return write_store(
        root / INDEX,
        with_institutions(table, frames.mentions, frames.institutions),
        run,
        load_named_encoder(settings.blocking, len(mentions)),
    )


def _read_again(
    frames: RunFrames, settings: Settings, on_progress: Progress | None
) -> tuple[Mentions, Forms]:
    """Mentions of a run and their forms, from its strings."""
    strings = frames.mentions.drop_duplicates("affiliation_id")
    affiliations = Affiliations(
        strings["affiliation_id"].tolist(),
        strings["affiliation"].tolist(),
        strings["n_occurrences"].to_numpy(np.int64),
    )
    mentions = mentions_of(affiliations, settings, on_progress)
    return mentions, normalize(mentions, settings.normalization)


def with_institutions(
    mentions: pa.Table, membership: pd.DataFrame, institutions: pd.DataFrame
) -> dict[str, pa.Table]:
    """Rows of mentions and what a run says of them to the tables of an index."""
    import pyarrow as pa

    number = {entity: i for i, entity in enumerate(institutions["entity_id"])}
    of = np.array([number[e] for e in membership["entity_id"]], np.int32)
    probability = membership["match_probability"].to_numpy(np.float64)
    nothing = [None] * len(institutions)
    names = {n: pa.array(institutions.get(n, nothing), pa.string(), from_pandas=True) for n in _WHO}
    with_both = mentions.append_column("institution", pa.array(of)).append_column(
        "match_probability", pa.array(probability)
    )
    return {"mentions": with_both, "institutions": pa.table(names)}
