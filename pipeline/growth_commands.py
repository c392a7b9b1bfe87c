"""Commands from run to run: what changed, and where an id lives now."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write the changes as an HTML page, too.")
@click.option("--n", default=10, show_default=True, type=click.IntRange(0), help="Rows shown of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts, with all rows.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def diff(old: Path, new: Path, html: Path | None, n: int, as_json: bool, quiet: bool) -> None:
    """Tell what became of the institutions of one run in another.

    Institutions that are born, grew, shrank, merged, split, ended or have another name. An id that both runs
    have is one institution; others are matched by the strings that they have in common.
    """
    from pipeline.changes import Changes
    from pipeline.console import print_changes
    from pipeline.writing import write_text

    found = Changes.between(old, new)
    if html is not None:
        write_text(found.page(), html)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    elif not quiet:
        print_changes(found, n)
        if html is not None:
            click.echo(f"page: {html}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("entity_ids", nargs=-1, required=True, metavar="ENTITY_ID...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def trace(run: Path, entity_ids: tuple[str, ...], as_json: bool) -> None:
    """Tell where entity ids live now, and what happened to them.

    An id that was merged away leads to its heir. Exit code 2 for an id that no run of the line ever had.
    """
    from pipeline.console import print_traces
    from pipeline.ledger import Generation

    known = Generation.read(run)
    traces = [known.trace(entity_id) for entity_id in entity_ids]
    if as_json:
        click.echo(json.dumps(traces))
    else:
        print_traces(traces)
