"""The commands `affil train pairs`, `affil train triplets` and `affil train published`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _mining_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.argument("labels", type=click.Path(path_type=Path)),
        click.option("--affiliation-column", default="affiliation", show_default=True),
        click.option("--cluster-column", default="cluster", show_default=True),
        click.option("--separator", help="What separates several labels in one cell."),
        click.option(
            "--fold-column",
            default="fold",
            show_default=True,
            help="Column with the values train, tune; other rows are not read. Not needed.",
        ),
        click.option(
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            help="File to write: CSV, TSV, JSONL or Parquet.",
        ),
        click.option(
            "--encoder",
            default="built-in",
            show_default=True,
            help="Says what lies near: a name, folder or hub id.",
        ),
        click.option(
            "--per-string", default=4, show_default=True, help="Positives, and negatives, a string."
        ),
        click.option(
            "--max-similarity", default=0.95, show_default=True, help="A nearer negative is left out."
        ),
        click.option(
            "--raw", "is_raw", is_flag=True, help="Strings as they are, not what a run compares of them."
        ),
        click.option(
            "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True
        ),
        click.option("--seed", default=0, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command("triplets")
@_mining_options
def triplets(**given: Any) -> None:
    """Mine triplets (anchor, positive, negative) from labelled strings (affiliation, cluster)."""
    from pipeline.training.mining import mine_triplets

    _mine(mine_triplets, **given)


@click.command("pairs")
@_mining_options
def pairs(**given: Any) -> None:
    """Mine labelled pairs (left, right, label) from labelled strings (affiliation, cluster)."""
    from pipeline.training.mining import mine_pairs

    _mine(mine_pairs, **given)


@click.command("published")
@click.option(
    "--recipe",
    "named",
    required=True,
    help="gte-triplet, reranker-bce, academic-infonce, mention-triplet, aspire-cocited, or a TOML file.",
)
@click.option(
    "--from", "start", required=True, help="Model to start from: a name (see affil models), folder or hub id."
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Triplets (anchor, positive, negative), pairs (left, right, label) or (affiliation, cluster).",
)
@click.option("--affiliation-column", default="affiliation", show_default=True)
@click.option("--cluster-column", default="cluster", show_default=True)
@click.option("--separator", help="What separates several labels in one cell.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--seed", type=int, help="Of everything random; by default the recipe's.")
def published(
    named: str,
    start: str,
    data: Path,
    affiliation_column: str,
    cluster_column: str,
    separator: str | None,
    output: Path,
    device: str,
    seed: int | None,
) -> None:
    """Fine-tune a transformer as a published one was; the same command goes on after an interruption."""
    from dataclasses import replace

    from pipeline.training.fine_tuning import fine_tune
    from pipeline.training.labels import Columns
    from pipeline.training.recipe import Recipe

    recipe = Recipe.read(named)
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    columns = Columns(affiliation_column, cluster_column, separator=separator)
    fine_tune(recipe, start, data, output, device=device, columns=columns, say=click.echo)
    click.echo(f"written: {output}")


def _mine(
    mine: Callable[..., Any],
    labels: Path,
    output: Path,
    affiliation_column: str,
    cluster_column: str,
    separator: str | None,
    fold_column: str,
    is_raw: bool,
    **given: Any,
) -> None:
    from pipeline.training.examples import check_suffix, write_examples
    from pipeline.training.labels import Columns
    from pipeline.training.mining import MiningSettings, read_labelled

    check_suffix(output)
    settings = MiningSettings(is_raw=is_raw, **given)
    columns = Columns(affiliation_column, cluster_column, fold_column, separator)
    found: dict[str, list[Any]] = {}
    for fold, own in read_labelled(labels, columns, is_raw=is_raw).items():
        mined = mine(own, settings)
        n_clusters = int(own.label.max(initial=-1)) + 1
        where = f"fold {fold}: " if fold else ""
        click.echo(f"{where}{len(own):,} texts of {n_clusters:,} clusters, {len(mined):,} rows")
        more = {"fold": [fold] * len(mined)} if fold else {}
        for name, values in (mined.columns() | more).items():
            found.setdefault(name, []).extend(values)
    write_examples(found, output)
    click.echo(f"written: {output}")
