"""Renderings of organisations to train an encoder on: texts as blocking sees them, by organisation."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.concepts import concept_text
from pipeline.errors import UsageError
from pipeline.preparation import prepare
from pipeline.text import compare

Int64s = npt.NDArray[np.int64]

#: Registry records of this fold are kept for measuring and never read in training.
UNSEEN_FOLD = "names-test"
#: Names of registry records that are no name of the whole organisation alone.
_ACRONYM = "acronym"


@dataclass(frozen=True)
class Organization:
    """One organisation: what it is called in compare form, and where it is.

    Attributes:
        label: its id, such as the ROR id.
        names: compare forms of its names.
        texts: what blocking compares of its labelled strings: whole strings and organisation spans.
        places: what a string could say of its place, in compare form: `munich germany`, `germany` …
        country_code: two letters, "" where unknown.
    """

    label: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    places: tuple[str, ...]
    country_code: str


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled strings as blocking sees them, one entry a string: its label and its two views."""

    label: list[str]
    context: list[str]
    concept: list[str]
    organization: list[str]
    units: list[str]


@dataclass(frozen=True)
class Renderings:
    """Texts by organisation: those of organisation `g` are `text[starts[g]:starts[g + 1]]`.

    Attributes:
        text: all renderings, each organisation's together.
        starts: int64, shape (n_organizations + 1,).
        country: int64, a number for each organisation's country, -1 where unknown.
        is_labelled: whether labelled strings are among its renderings.
    """

    text: list[str]
    starts: Int64s
    country: Int64s
    is_labelled: npt.NDArray[np.bool_]


def labelled_texts(rows: Sequence[tuple[str, str]]) -> LabelledTexts:
    """(string, label) rows through the data path to the views of their main mentions."""
    mentions, forms = prepare([string for string, _ in rows])
    label_of = dict(rows)
    main = [i for i in np.flatnonzero(forms.is_main).tolist() if forms.organization[i]]
    raw = mentions.affiliations.affiliation
    return LabelledTexts(
        [label_of[raw[mentions.affiliation[i]]] for i in main],
        [forms.context[i] for i in main],
        [forms.concept[i] for i in main],
        [forms.organization[i] for i in main],
        [forms.units[i] for i in main],
    )


def read_left_out(path: Path | None) -> frozenset[str]:
    """A TSV with `ror_id` and `fold` to the ids that training must not read names of."""
    return read_ids(path, UNSEEN_FOLD)


def read_ids(path: Path | None, *folds: str) -> frozenset[str]:
    """A TSV with `ror_id` and `fold` to the ids of some folds; none without a file."""
    if path is None:
        return frozenset()
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        missing = [c for c in ("ror_id", "fold") if c not in (rows.fieldnames or [])]
        if missing:
            raise UsageError(
                f"{path}: no column {missing[0]!r}; there are {', '.join(rows.fieldnames or [])}"
            )
        return frozenset(row["ror_id"] for row in rows if row["fold"] in folds)


def read_registry(path: Path) -> Iterator[dict[str, Any]]:
    """A JSONL file of registry records (gzipped or not; names, locations) to the records."""
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open("rt", encoding="utf-8") as lines
    ):
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                record["id"], record["names"]
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}, line {number}: not a registry record ({error})") from error
            yield record


def organizations(
    labelled: LabelledTexts, registry: Path | None, left_out: frozenset[str] = frozenset()
) -> list[Organization]:
    """Labelled strings and registry records to organisations, ordered by label."""
    texts: dict[str, list[str]] = {}
    for label, *views in zip(
        labelled.label, labelled.context, labelled.concept, labelled.organization, strict=True
    ):
        texts.setdefault(label, []).extend(views)
    found = {
        label: Organization(label, (), tuple(dict.fromkeys(own)), (), "") for label, own in texts.items()
    }
    for record in read_registry(registry) if registry else ():
        label = str(record["id"]).rsplit("/", 1)[-1]
        # A withdrawn record is mostly a duplicate of another, and would be its negative.
        if label not in left_out and record.get("status") != "withdrawn":
            found[label] = _organization(label, record, found[label].texts if label in found else ())
    return [found[label] for label in sorted(found)]


def _organization(label: str, record: dict[str, Any], texts: tuple[str, ...]) -> Organization:
    names = [compare(n["value"]) for n in record["names"] if _ACRONYM not in (n.get("types") or [])]
    location = (record.get("locations") or [{}])[0]
    city, country = (compare(location.get(key) or "") for key in ("city", "country"))
    places = tuple(dict.fromkeys(p for p in (f"{city} {country}".strip(), city, country) if p))
    return Organization(
        label, tuple(dict.fromkeys(n for n in names if n)), texts, places, location.get("country_code") or ""
    )


def render(found: Sequence[Organization], units: Sequence[str], n_contexts: int, seed: int = 0) -> Renderings:
    """Organisations to renderings; those with fewer than two distinct ones are left out.

    Args:
        found: organisations, in an order that is the same every time.
        units: names of departments in compare form, drawn from to make up contexts.
        n_contexts: made-up contexts (a department, the name, a place) for each organisation.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    countries = {code: n for n, code in enumerate(sorted({o.country_code for o in found} - {""}))}
    text: list[str] = []
    starts, country, is_labelled = [0], [], []
    for organization in found:
        own = _renderings(organization, units, n_contexts, random)
        if len(own) < 2:
            continue
        text += own
        starts.append(len(text))
        country.append(countries.get(organization.country_code, -1))
        is_labelled.append(bool(organization.texts))
    return Renderings(
        text, np.array(starts, np.int64), np.array(country, np.int64), np.array(is_labelled, bool)
    )


def _renderings(
    organization: Organization, units: Sequence[str], n_contexts: int, random: np.random.Generator
) -> list[str]:
    """The distinct texts of one organisation: strings, names, concept forms, names in made-up contexts."""
    found = [*organization.texts, *organization.names]
    found += [concept_text(name) for name in organization.names]
    for _ in range(n_contexts if organization.names else 0):
        name = organization.names[int(random.integers(len(organization.names)))]
        # A department before it half of the time, a place behind it mostly: as people write.
        unit = units[int(random.integers(len(units)))] if units and random.random() < 0.5 else ""
        place = ""
        if organization.places and random.random() < 0.8:
            place = organization.places[int(random.integers(len(organization.places)))]
        found.append(" ".join(part for part in (unit, name, place) if part))
    return list(dict.fromkeys(text for text in found if text))
