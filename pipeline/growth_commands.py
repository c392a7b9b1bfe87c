"""Commands from run to run: what changed, and where an id lives now."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.engine_options import engine_options


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--column", help="Column of the affiliation strings, if it has another name than in the run.")
@click.option("--encoding", help="Encoding of text files (else detected).")
@click.option("--again", is_flag=True, help="Add rows once more that were added before.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts, no tables and no bars.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def add(
    run: Path,
    inputs: tuple[str, ...],
    engine: str,
    ray_address: str | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Add rows to a finished run, without resolving its own again.

    INPUT is as for affil resolve, with the columns of the run's own input. New strings join institutions,
    found some, or bridge two; entity ids go on, and the ledger tells what happened.
    """
    from pipeline.add_job import run_add_job
    from pipeline.console import bars, print_summary
    from pipeline.distributed import engine_named

    used = engine_named(engine, ray_address)
    with used, bars(not quiet and not as_json and sys.stderr.isatty()) as watch:
        found = run_add_job(run, inputs, **given, watch=watch)
    if as_json:
        click.echo(json.dumps(vars(found) | {"folder": str(found.folder)}))
    elif not quiet and found.was_added:
        click.echo(f"{found.folder} has these rows already; nothing was done (--again adds them once more)")
    elif not quiet:
        click.echo(f"{found.n_rows:,} rows added, {found.n_new_strings:,} of their strings are new")
        print_summary(found.manifest, found.folder)


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
@click.argument("strings", nargs=-1, required=True, metavar="STRING...|FILE...")
@click.option("--output", type=click.Path(path_type=Path), help="Your table with the answers (for files).")
@click.option("--column", help="Column of the affiliation strings (guessed when obvious).")
@click.option("--encoding", help="Encoding of text files (else detected).")
@click.option("--k", default=3, show_default=True, type=click.IntRange(1), help="Institutions a string.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts, no tables and no bars.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def lookup(
    run: Path, strings: tuple[str, ...], output: Path | None, k: int, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Tell which institutions of a finished run new strings name; nothing is clustered or changed.

    STRINGs are answered at once; FILEs (as for affil resolve) become a table with the institution of every
    row, given --output. The first lookup makes the index of the run.
    """
    from pipeline.console import bars, print_answers
    from pipeline.lookup_job import are_files, look_up, run_lookup_job
    from pipeline.reading import ReadingSettings

    with bars(not quiet and not as_json and sys.stderr.isatty()) as watch:
        if is_file := are_files(strings, output):
            reading = ReadingSettings(given["column"], encoding=given["encoding"])
            found = run_lookup_job(run, strings, output, reading, k, watch=watch)
        else:
            answers = look_up(run, strings, k, watch=watch)
    if as_json:
        click.echo(json.dumps(vars(found) | {"file": str(found.file)} if is_file else answers))
    elif not quiet and is_file:
        click.echo(f"{found.file}: {found.n_found:,} of {found.n_strings:,} strings have an institution")
    elif not quiet:
        print_answers(answers)


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
