"""The commands `affil registry …`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

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
    from pipeline.linking import prepare_names
    from pipeline.registry import import_registry

    found = import_registry(file, output, prepare_names)
    if as_json:
        click.echo(json.dumps({"file": str(output)} | dataclasses.asdict(found)))
    elif not quiet:
        by_status = ", ".join(f"{n:,} {status}" for status, n in found.n_by_status.items())
        click.echo(f"{output}: {found.n_records:,} records ({by_status}), {found.n_names:,} names")
        for warning in found.warnings:
            click.echo(f"affil: {warning}", err=True)
