"""Synthetic affiliation strings with their gold, as many as asked for, from the names of a registry.

    python benchmarks/synthetic.py --registry ../shared/data/registry/ror_records_partial.jsonl.gz \
        --n 1000000 --output synthetic.parquet [--seed 0]

Distinct strings, columns `affiliation` and `cluster` (the registry id of the organisation that the string
names first). The institution of rank r (from 0, in an order that the seed sets) is drawn with weight
1 / (r + 10)^0.8, so that a few are large and most are rare. A string carries departments, a name in one of
the registry's languages, a place in more or less detail, sometimes a second organisation, sometimes a typing
error. For measuring speed, memory and growth: quality on it says nothing about real strings. The same seed
gives the same strings, and fewer strings are the beginning of more.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

#: Weight of the institution of rank r: 1 / (r + OFFSET) ** EXPONENT.
OFFSET, EXPONENT = 10, 0.8
#: Drawn at once; the draws of a shorter file are then those of a longer one.
BATCH = 10_000

SUBJECTS = (
    *("Physics", "Chemistry", "Biology", "Mathematics", "Computer Science", "Statistics", "Economics", "Law"),
    *("Medicine", "Surgery", "Neurology", "Cardiology", "Oncology", "Pediatrics", "Radiology", "Psychiatry"),
    *("Pathology", "Pharmacology", "Microbiology", "Immunology", "Genetics", "Biochemistry", "Epidemiology"),
    *("Mechanical Engineering", "Electrical Engineering", "Civil Engineering", "Chemical Engineering"),
    *("Materials Science", "Astronomy", "Geography", "Geology", "Ecology", "Agronomy", "Forestry", "Botany"),
    *("Zoology", "Psychology", "Sociology", "History", "Philosophy", "Linguistics", "Education", "Nursing"),
)
#: How a unit is written, and how often.
UNITS = {
    "Department of {}": 8,
    "Dept {}": 3,
    "Dept. of {}": 3,
    "School of {}": 2,
    "Faculty of {}": 2,
    "Division of {}": 1,
    "Laboratory of {}": 1,
    "{} Group": 1,
}
#: Words of names as citation indexes shorten them.
SHORT = {"University": "Univ", "Institute": "Inst", "Hospital": "Hosp", "National": "Natl", "Center": "Ctr"}
SHORT |= {"College": "Coll", "Technology": "Technol", "International": "Int", "Research": "Res"}
COUNTRIES = {
    "United States": ("USA", "U.S.A.", "United States of America"),
    "United Kingdom": ("UK", "England"),
}
COUNTRIES |= {"China": ("P.R. China", "PR China"), "Germany": ("Deutschland",), "Brazil": ("Brasil",)}


@dataclass(frozen=True)
class Institution:
    """A registry record: its names (the one to display first), acronyms, place, and relatives' ids."""

    id: str
    names: tuple[str, ...]
    acronyms: tuple[str, ...]
    city: str
    region: str
    country: str
    relatives: tuple[str, ...]


def read_institutions(registry: Path) -> list[Institution]:
    """The active records of a registry file (JSONL, gzipped or not), by id."""
    opened = gzip.open if registry.suffix == ".gz" else open
    with opened(registry, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    found = [_institution(record) for record in records if record["status"] == "active"]
    return sorted((one for one in found if one.names), key=lambda one: one.id)


def _institution(record: dict[str, Any]) -> Institution:
    names = sorted(record["names"], key=lambda name: "ror_display" not in name["types"])
    place = record["locations"][0] if record["locations"] else {}
    is_short = ["acronym" in name["types"] for name in names]
    return Institution(
        _id(record["id"]),
        tuple(name["value"] for name, short in zip(names, is_short, strict=True) if not short),
        tuple(name["value"] for name, short in zip(names, is_short, strict=True) if short),
        *(place.get(part) or "" for part in ("city", "region", "country")),
        tuple(_id(other["id"]) for other in record["relationships"]),
    )


def _id(url: str) -> str:
    return url.rpartition("/")[2]


def strings(institutions: Sequence[Institution], n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Registry records in; `n` different strings, each with the id of its institution, out.

    A string that two institutions could have belongs to the one that it was drawn for first.

    Raises:
        ValueError: the records have no more different strings to give.
    """
    rng = random.Random(seed)
    ranked = rng.sample(institutions, len(institutions))
    by_id = {one.id: one for one in ranked}
    weights = list(accumulate((rank + OFFSET) ** -EXPONENT for rank in range(len(ranked))))
    seen: set[str] = set()
    while len(seen) < n:
        n_before = len(seen)
        for one in rng.choices(ranked, cum_weights=weights, k=BATCH):
            text = _string(one, by_id, ranked, rng)
            if text not in seen and len(seen) < n:
                seen.add(text)
                yield text, one.id
        if len(seen) - n_before < min(BATCH // 100, n - n_before):
            raise ValueError(
                f"{len(ranked):,} institutions give only {len(seen):,} different strings, not {n:,}"
            )


def _string(
    one: Institution, by_id: dict[str, Institution], ranked: Sequence[Institution], rng: random.Random
) -> str:
    parts = [*_units(rng), _name(one, rng), *_place(one, rng)]
    text = ", ".join(part for part in parts if part)
    if rng.random() < 0.08:
        known = [by_id[other] for other in one.relatives if other in by_id]
        other = rng.choice(known) if known else rng.choice(ranked)
        text += f"; {_name(other, rng)}, {', '.join(filter(None, (other.city, other.country)))}"
    return _spoilt(text, rng)


def _units(rng: random.Random) -> list[str]:
    """No unit, one, or a smaller one in a larger one."""
    n_units = rng.choices((0, 1, 2), (30, 55, 15))[0]
    forms = rng.choices(list(UNITS), list(UNITS.values()), k=n_units)
    return [form.format(rng.choice(SUBJECTS)) for form in forms]


def _name(one: Institution, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.06 and one.acronyms:
        return rng.choice(one.acronyms)
    # The display name mostly, else one of all the languages that the registry has.
    name = one.names[0] if kind < 0.7 else rng.choice(one.names)
    if rng.random() < 0.2:
        name = " ".join(SHORT.get(word, word) for word in name.split())
    return f"{name} ({one.acronyms[0]})" if one.acronyms and rng.random() < 0.08 else name


def _place(one: Institution, rng: random.Random) -> list[str]:
    country = (
        rng.choice(COUNTRIES[one.country]) if one.country in COUNTRIES and rng.random() < 0.6 else one.country
    )
    kind = rng.random()
    if kind < 0.1:
        return []
    if kind < 0.25:
        return [country]
    city = f"{rng.randrange(1000, 99999)} {one.city}" if one.city and rng.random() < 0.15 else one.city
    return [city, one.region, country] if kind < 0.4 else [city, country]


def _spoilt(text: str, rng: random.Random) -> str:
    """Capitals, letters without marks, typing errors: each in some strings."""
    if rng.random() < 0.06:
        text = text.upper()
    if rng.random() < 0.15:
        bare = unicodedata.normalize("NFKD", text)
        # Only Latin letters: other scripts lose more than a mark by it.
        text = "".join(c for c in bare if not unicodedata.combining(c)) if bare[:1].isascii() else text
    if rng.random() < 0.08:
        at = rng.randrange(len(text))
        error = rng.choice(("drop", "double", "swap"))
        pair = text[at : at + 2]
        text = (
            text[:at]
            + {"drop": pair[1:], "double": pair[:1] + pair, "swap": pair[::-1]}[error]
            + text[at + 2 :]
        )
    return " ".join(text.split())


def write(rows: Iterator[tuple[str, str]], output: Path) -> None:
    """Rows to a CSV or Parquet file with the columns `affiliation` and `cluster`."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    affiliation, cluster = zip(*rows, strict=True)
    table = pa.table({"affiliation": affiliation, "cluster": cluster})
    if output.suffix == ".parquet":
        pa.parquet.write_table(table, output)
    else:
        pa.csv.write_csv(table, output)


def main() -> None:
    """Write a file of synthetic strings."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--registry", type=Path, required=True)
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    if given.n < 1:
        options.error(f"--n must be 1 or more, got {given.n}")
    if given.output.suffix not in (".csv", ".parquet"):
        options.error(f"--output must end in .csv or .parquet, got {given.output}")
    if not given.registry.is_file():
        options.error(f"--registry: no such file: {given.registry}")
    try:
        write(strings(read_institutions(given.registry), given.n, given.seed), given.output)
    except ValueError as error:
        sys.exit(f"synthetic.py: {error}; ask for fewer")
    print(f"{given.output}: {given.n:,} strings")


if __name__ == "__main__":
    main()
