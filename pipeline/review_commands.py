"""The commands `affil review …`: questions out, answers in."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import UsageError


@click.group()
def review() -> None:
    """Ask a person about the pairs that matter most, and keep what they say."""


@review.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="CSV file for the questions.")
@click.option("--n", default=100, show_default=True, type=click.IntRange(1), help="How many pairs.")
def export_pairs(run: Path, output: Path, n: int) -> None:
    """Write the pairs of a run that are most worth a person's minute.

    Fill in the column verdict (same, different, different campuses; empty where you don't know) and give the
    file to affil review import.
    """
    import pyarrow as pa

    from pipeline.review import worth_asking
    from pipeline.run_folder import read_frames, read_settings
    from pipeline.writing import write_csv

    if output.exists():
        raise UsageError(f"{output} is there already, perhaps with answers; import it, or name another file")
    frames = read_frames(run)
    found = worth_asking(frames, n, read_settings(run).clustering)
    write_csv(pa.Table.from_pandas(found, preserve_index=False), output)
    click.echo(f"{len(found)} pairs: {output}; fill in the column verdict")


@review.command("import")
@click.argument("answers", type=click.Path(path_type=Path))
@click.option(
    "--judgements",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV file of judgements to append to; it is made where it is not there.",
)
@click.option("--by", "judged_by", help="Who answered, where the answers do not say.")
def import_answers(answers: Path, judgements: Path, judged_by: str | None) -> None:
    """Append the answers of a filled-in export to a file of judgements, for affil resolve --judgements."""
    from pipeline.judgements import append_judgements, read_answers

    done = append_judgements(read_answers(answers, judged_by), judgements)
    known = f", {done.n_known} were there already" if done.n_known else ""
    click.echo(f"{done.n_new} judgements added to {judgements}{known}")
