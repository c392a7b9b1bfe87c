"""Works as OpenAlex, Crossref and DataCite publish them: JSONL in, a row a string of an author out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import AffilError
from pipeline.formats import Rows, json_records, text_batch
from pipeline.inputs import InputFile

if TYPE_CHECKING:
    import pyarrow as pa

#: The columns that works come out with: the authorship, and one string of it.
WORK, AUTHOR, POSITION = AUTHOR_COLUMNS = ("work_id", "author_id", "position")
YEAR = "year"
COLUMNS = (WORK, AUTHOR, POSITION, "author_name", YEAR, "affiliation")
_Row = tuple[str | None, ...]


@dataclass(frozen=True)
class _Author:
    """Who it is, as far as the work says, and the strings of the affiliations."""

    author_id: str | None
    name: str | None
    strings: list[Any]


def _openalex(work: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return work.get("id"), work.get("publication_year"), work.get("authorships")


def _openalex_author(item: Mapping[str, Any]) -> _Author:
    author = item.get("author") or {}
    old = item.get("raw_affiliation_string")
    strings = item.get("raw_affiliation_strings") or ([old] if old else [])
    who = author.get("id") or author.get("orcid")
    return _Author(who, author.get("display_name") or item.get("raw_author_name"), strings)


def _crossref(work: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    dates = (work.get("published") or work.get("issued") or {}).get("date-parts") or [[None]]
    return work.get("DOI"), next(iter(dates[0] or ()), None), work.get("author")


def _crossref_author(item: Mapping[str, Any]) -> _Author:
    name = item.get("name") or " ".join(filter(None, (item.get("given"), item.get("family"))))
    return _Author(item.get("ORCID"), name or None, item.get("affiliation") or [])


def _datacite(work: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    inner = work.get("attributes") or work
    return inner.get("doi") or work.get("id"), inner.get("publicationYear"), inner.get("creators")


def _datacite_author(item: Mapping[str, Any]) -> _Author:
    ids = [i.get("nameIdentifier") for i in item.get("nameIdentifiers") or ()]
    found = item.get("affiliation") or []
    return _Author(
        next(filter(None, ids), None), item.get("name"), found if isinstance(found, list) else [found]
    )


#: Publisher → (field of the authors; id, year and authors of a work; what an author is).
FORMATS: dict[str, tuple[str, Callable[..., tuple[Any, Any, Any]], Callable[..., _Author]]] = {
    "openalex": ("authorships", _openalex, _openalex_author),
    "crossref": ("author", _crossref, _crossref_author),
    "datacite": ("creators", _datacite, _datacite_author),
}


def read_works(file: InputFile, publisher: str) -> Rows:
    """A JSONL file of works to rows of `COLUMNS`: an author without a string has one row, with None."""
    return Rows(COLUMNS, _batches(file, publisher))


def _batches(file: InputFile, publisher: str) -> Iterator[pa.RecordBatch]:
    n_rows = 0
    for numbers, records in json_records(file):
        rows = [
            row
            for number, work in zip(numbers, records, strict=True)
            for row in _rows(work, publisher, f"{file.name}, line {number}")
        ]
        n_rows += len(rows)
        if rows:
            yield text_batch(zip(*rows, strict=True))
    if not n_rows:
        field = FORMATS[publisher][0]
        raise AffilError(f"{file.name}: no work has authors in a field {field!r}; give another --works")


def _rows(work: Mapping[str, Any], publisher: str, place: str) -> Iterator[_Row]:
    field, open_work, read_author = FORMATS[publisher]
    try:
        work_id, year, authors = open_work(work)
        for position, item in enumerate(authors or (), 1):
            author = read_author(item)
            strings = dict.fromkeys(map(_name, author.strings)) or {None: None}
            for string in strings:
                who = _text(author.author_id), str(position), _text(author.name)
                yield _text(work_id), *who, None if year is None else str(year), string
    except (AttributeError, TypeError) as error:
        raise AffilError(
            f"{place}: {field!r} is not as {publisher} writes it ({error}); give another --works"
        ) from None


def _name(given: object) -> str | None:
    """An affiliation as a text, or as an object with a name."""
    if isinstance(given, Mapping):
        given = given.get("name")
    return _text(given)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} instead of text")
