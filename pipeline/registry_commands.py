"""The commands `affil registry …` and `affil train linker`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click


@click.group()
def registry() -> None:
    """Lists of organisations, such as ROR, that institutions are linked to."""


@registry.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Registry file to write.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_file(file: Path, output: Path, quiet: bool, as_json: bool) -> None:
    """Read a registry as published into one checked file.

    FILE is a ROR release (the zip as it comes, its JSON or CSV, schema 1 or 2), JSONL of such records, or a
    CSV of your own with columns id and name (docs/registry.md).
    """
    from pipeline.registry import import_registry

    found = import_registry(file, output)
    if as_json:
        click.echo(json.dumps({"file": str(output)} | dataclasses.asdict(found)))
    elif not quiet:
        by_status = ", ".join(f"{n:,} {status}" for status, n in found.n_by_status.items())
        click.echo(f"{output}: {found.n_records:,} records ({by_status}), {found.n_names:,} names")
        for warning in found.warnings:
            click.echo(f"affil: {warning}", err=True)


@click.command("linker")
@click.option(
    "--labels",
    "complete",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="CSV, TSV, JSONL or Parquet with all ids of each string, none for none; can be given again.",
)
@click.option(
    "--single-labels",
    "single",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The same with one id even where a string names several organisations.",
)
@click.option(
    "--registry", required=True, type=click.Path(path_type=Path), help="File of affil registry import."
)
@click.option(
    "--leave-out",
    "left_out",
    type=click.Path(path_type=Path),
    help="TSV: ror_id, fold; records of fold names-test are not read.",
)
@click.option("--affiliation-column", default="affiliation", show_default=True)
@click.option("--cluster-column", default="cluster", show_default=True, help="An id, or a list of ids.")
@click.option("--fold-column", default="fold", show_default=True, help="Column with the values train, tune.")
@click.option("--separator", help="What separates several ids in one cell.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the linker.")
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="TOML file; by default the one in the package."
)
@click.option("--seed", type=int, help="Of everything random; by default the recipe's.")
def linker(
    registry: Path, output: Path, left_out: Path | None, recipe: Path | None, seed: int | None, **given: Any
) -> None:
    """Fit the linker on strings labelled with ids of a registry."""
    from dataclasses import replace

    from pipeline.training.linker import read_linker_recipe, train_linker
    from pipeline.training.parser import LabelFiles

    chosen = read_linker_recipe(recipe)
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    for line in train_linker(LabelFiles(**given), registry, output, left_out, chosen):
        click.echo(line)
