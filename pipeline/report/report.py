"""A run folder in, one self-contained HTML page out: no network, no libraries in the page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import AffilError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.report.cards import Card, Features, Limits, NearMiss
    from pipeline.report.evidence import Evidence

MANIFEST_NAME = "manifest.json"
REPORT_NAME = "report.html"
#: A page beyond this size is made again with less of everything, so that it opens at once and can be mailed.
MAX_BYTES = 2_000_000

COLUMNS: dict[str, tuple[str, ...]] = {
    "mentions": (
        "affiliation_id",
        "affiliation",
        "n_occurrences",
        "mention_id",
        "organization",
        "units",
        "city",
        "region",
        "country_code",
        "role",
        "entity_id",
        "match_probability",
    ),
    "institutions": (
        "entity_id",
        "preferred_name",
        "variant_names",
        "acronyms",
        "city",
        "region",
        "country_code",
        "n_mentions",
        "n_occurrences",
        "confidence",
    ),
    "pairs": ("left_mention_id", "right_mention_id", "rule", "similarity", "logit", "probability"),
    "set_aside": ("string", "reason", "n_occurrences", "is_whole"),
}


#: What is shown besides where a run was given a registry.
REGISTRY_COLUMNS = {
    "institutions": (
        *("registry_id", "registry_probability", "established", "latitude", "longitude", "types", "domains"),
        *("links", "external_ids", "parent_ids", "child_ids", "earlier_ids", "earlier_names"),
        *("earlier_years", "later_ids", "later_names", "later_years", "provenance"),
    ),
    "mentions": ("link_id", "link_name", "link_probability"),
}

Reasons = Callable[[Sequence[str], Sequence[str]], list[list[tuple[str, float]]]]


@dataclass(frozen=True)
class RunTables:
    """The tables of a run folder and its manifest; further columns are allowed, missing ones are not."""

    mentions: pd.DataFrame
    institutions: pd.DataFrame
    pairs: pd.DataFrame
    set_aside: pd.DataFrame
    manifest: dict[str, Any]
    #: Mention ids of pairs in; what each feature adds to the log-odds of each, the weightiest first, out.
    reasons: Reasons | None = None

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            missing = [column for column in columns if column not in getattr(self, name).columns]
            if missing:
                raise UsageError(f"{name}: columns missing: {', '.join(missing)}; write the run folder again")


def read_run(folder: str | Path) -> RunTables:
    """The folder of a finished run in, its tables out.

    Raises:
        UsageError: where the folder is no run folder, or one of its files can't be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; give the output folder of a finished run")
    wanted = [MANIFEST_NAME, *(f"{name}.parquet" for name in COLUMNS)]
    missing = [name for name in wanted if not (root / name).is_file()]
    if missing:
        raise UsageError(
            f"{root}: no finished run here ({', '.join(missing)} missing); give its output folder"
        )
    tables = {
        name: _read_table(root / f"{name}.parquet", columns + REGISTRY_COLUMNS.get(name, ()))
        for name, columns in COLUMNS.items()
    }
    return RunTables(
        tables["mentions"],
        tables["institutions"],
        tables["pairs"],
        tables["set_aside"],
        _read_manifest(root / MANIFEST_NAME),
    )


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        present = set(pq.read_schema(path).names)
        return pd.read_parquet(path, columns=[column for column in columns if column in present])
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: no readable Parquet file; write the run folder again") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: no readable JSON ({error}); write the run folder again") from error
    if not isinstance(manifest, dict):
        raise UsageError(f"{path}: a JSON object was expected; write the run folder again")
    return manifest


def write_report(folder: str | Path, reasons: Reasons | None = None) -> Path:
    """The folder of a finished run in, `report.html` written into it, its path out.

    Args:
        folder: the run.
        reasons: what each feature says of a pair; without it the report leaves that out.

    Raises:
        UsageError: where the folder is no run folder.
        AffilError: where the report can't be written.
    """
    page = render_report(replace(read_run(folder), reasons=reasons))
    path = Path(folder) / REPORT_NAME
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise AffilError(
            f"{path}: cannot write the report ({error.strerror}); check space and rights"
        ) from error
    return path


@dataclass(frozen=True)
class Shown:
    """What the report shows of institutions and pairs, and how much of it."""

    evidence: Evidence
    reasons: Reasons | None
    limits: Limits
    largest: list[Card]
    least_certain: list[Card]
    n_joined: int
    near_misses: list[NearMiss]
    n_near_misses: int
    features: dict[int, Features]

    @classmethod
    def of(cls, evidence: Evidence, reasons: Reasons | None, limits: Limits) -> Shown:
        """What the limits let through of a run."""
        from pipeline.report import cards

        largest = cards.largest(evidence, limits)
        least_certain, n_joined = cards.least_certain(evidence, limits)
        near_misses, n_near_misses = cards.near_misses(evidence, limits)
        said = cards.features(reasons, evidence, [*largest, *least_certain, *near_misses])
        listed = largest, least_certain, n_joined, near_misses, n_near_misses
        return cls(evidence, reasons, limits, *listed, said)

    def halved(self) -> Shown:
        """Half of everything."""
        return Shown.of(self.evidence, self.reasons, self.limits.halved())


def shown(
    mentions: pd.DataFrame, institutions: pd.DataFrame, pairs: pd.DataFrame, reasons: Reasons | None = None
) -> Shown:
    """Tables of a run in, what its report shows of them out.

    Raises:
        UsageError: where a mention id or an entity id occurs twice.
    """
    from pipeline.report.cards import Limits
    from pipeline.report.evidence import gather

    return Shown.of(gather(mentions, institutions, pairs), reasons, Limits())


def render_report(run: RunTables, of: Shown | None = None) -> str:
    """The tables of a run in, the text of an HTML page out, below `MAX_BYTES` bytes of UTF-8.

    Args:
        run: the tables.
        of: what `shown` gave for them, where it is there already.

    Raises:
        UsageError: where a mention id or an entity id occurs twice.
    """
    of = of or shown(run.mentions, run.institutions, run.pairs, run.reasons)
    page = _render(run, of)
    while len(page.encode("utf-8")) > MAX_BYTES and of.limits != of.limits.halved():
        of = of.halved()
        page = _render(run, of)
    return page


def _render(run: RunTables, of: Shown) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from pipeline.report import figures, wording

    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = wording.count
    environment.filters["counted"] = wording.counted
    script = environment.get_template("script.js.j2").render().encode("utf-8")
    return environment.get_template("report.html.j2").render(
        # The page may run this one script and load nothing: a second lock behind the escaping.
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode("ascii"),
        heading=figures.heading(run.manifest),
        tiles=figures.tiles(run.manifest, run.set_aside),
        charts=[
            figures.size_chart(run.institutions),
            figures.member_chart(run.mentions),
            figures.pair_chart(of.evidence.n_pairs),
            *figures.silhouette_charts(run.manifest),
        ],
        n_institutions=len(run.institutions),
        largest=of.largest,
        least_certain=of.least_certain,
        n_joined=of.n_joined,
        near_misses=of.near_misses,
        features=of.features,
        n_near_misses=of.n_near_misses,
        countries=figures.countries(run.institutions),
        reasons=figures.reasons(run.set_aside, of.limits.n_characters),
        measures=figures.measures(run.manifest),
        counts=figures.counts(run.manifest),
        settings=figures.settings(run.manifest),
        stages=figures.stages(run.manifest),
    )
