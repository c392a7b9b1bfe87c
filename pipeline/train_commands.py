"""The commands `affil train …`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from pipeline.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_PATH = click.Path(path_type=Path)
#: Names the model in the package where one is started from.
_BUILT_IN = "built-in"
_RECIPE = click.option("--recipe", type=_PATH, help="TOML file; by default the one in the package.")
_SEED = click.option("--seed", type=int, help="Of everything random; by default the recipe's.")
_DEVICE = click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True
)
_LEAVE_OUT = click.option(
    "--leave-out",
    "left_out",
    type=_PATH,
    help="TSV: ror_id, fold; records of fold names-test are not read.",
)
_AFFILIATION = click.option("--affiliation-column", default="affiliation", show_default=True)
_CLUSTER = click.option("--cluster-column", default="cluster", show_default=True)
_SEPARATOR = click.option("--separator", help="What separates several labels in one cell.")


def _options(*options: Decorator) -> Decorator:
    """Several options as one decorator, in the order in which `--help` shows them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _output(what: str) -> Decorator:
    return click.option("--output", required=True, type=_PATH, help=f"{what}.")


def _start(what: str, folder: str) -> Decorator:
    """A model to start from: a folder, or the one in the package by its name."""

    def located(context: click.Context, option: click.Parameter, given: Path | None) -> Path | None:
        if given != Path(_BUILT_IN):
            return given
        return Path(str(files("pipeline") / "models" / folder))

    return click.option(
        "--from",
        "start",
        type=_PATH,
        callback=located,
        help=f'Folder of a {what} to start from, or "{_BUILT_IN}".',
    )


def _registry(text: str, *, is_required: bool = False) -> Decorator:
    return click.option("--registry", required=is_required, type=_PATH, help=text)


def _fold(text: str) -> Decorator:
    return click.option("--fold-column", default="fold", show_default=True, help=text)


def _labels(*, is_required: bool = True) -> Decorator:
    text = "TSV or CSV: affiliation, cluster, fold."
    return click.option("--labels", "labels_file", required=is_required, type=_PATH, help=text)


_LABEL_COLUMNS = (
    _AFFILIATION,
    _CLUSTER,
    _fold("Column with the values train, tune; without it every fifth cluster is held out."),
)
#: One labelled file.
_LABELLED = _options(_labels(), *_LABEL_COLUMNS)


def _judgements(more: str) -> Decorator:
    return click.option("--judgements", type=_PATH, help=f"Table of judgements, as of affil resolve{more}.")


def _labelled_sets(labels: str) -> Decorator:
    """Several labelled files of one form, see `LabelFiles`; `labels` says what their labels are."""
    return _options(
        click.option(
            "--labels",
            "complete",
            multiple=True,
            required=True,
            type=_PATH,
            help=f"CSV, TSV, JSONL or Parquet with all {labels} of each string; can be given again.",
        ),
        click.option(
            "--single-labels",
            "single",
            multiple=True,
            type=_PATH,
            help="The same with one label even where a string names several organisations.",
        ),
        _AFFILIATION,
        click.option("--cluster-column", default="cluster", show_default=True, help="A label, or a list."),
        _fold("Column with the values train, tune."),
        _SEPARATOR,
    )


@click.group()
def train() -> None:
    """Fit the built-in models again, or on your own labelled strings."""


@train.command("scorer")
@_options(_labels(is_required=False), *_LABEL_COLUMNS, _judgements("; with --from"))
@_options(_output("Folder for the scorer"), _RECIPE, _start("scorer", "pair_scorer"), _SEED)
def train_scorer(
    labels_file: Path | None,
    judgements: Path | None,
    output: Path,
    recipe: Path | None,
    start: Path | None,
    seed: int | None,
    **given: str,
) -> None:
    """Fit the pair scorer and its calibration on labelled strings, or adjust one, to judgements too."""
    from pipeline.training.boosting import ScorerRecipe

    chosen, columns = _seeded(ScorerRecipe.read(recipe), seed), _columns(**given)
    if start:
        from pipeline.training.scorer_tuning import tune_scorer

        _tell(
            tune_scorer(
                start, output, chosen, labels_file=labels_file, columns=columns, judgements=judgements
            )
        )
    elif judgements or not labels_file:
        what = "judgements adjust a scorer" if judgements else "a new scorer needs --labels"
        raise UsageError(f"{what}: give --from {_BUILT_IN} to start from the one in the package")
    else:
        from pipeline.training.scorer import train_scorer as fit

        _tell(fit(labels_file, output, chosen, columns))


@train.command("encoder")
@_options(_LABELLED, _judgements(", to learn from too"))
@_options(_registry("JSONL of registry records, gzipped or not."), _LEAVE_OUT)
@_options(_output("Folder for the encoder"), _RECIPE, _start("trained encoder", "encoder"), _SEED)
def train_encoder(
    affiliation_column: str,
    cluster_column: str,
    fold_column: str,
    recipe: Path | None,
    start: Path | None,
    seed: int | None,
    **given: Any,
) -> None:
    """Train the encoder on labelled strings, registry names and what people judged, or go on."""
    from pipeline.training.encoder import train_encoder as fit
    from pipeline.training.encoder_recipe import encoder_recipe

    columns = _columns(affiliation_column, cluster_column, fold_column)
    _tell(fit(columns=columns, recipe=_seeded(encoder_recipe(recipe, start), seed), start=start, **given))


@train.command("parser")
@_labelled_sets("organisations")
@_registry("JSONL of registry records: their ids are labels.", is_required=True)
@_options(_LEAVE_OUT, _output("Folder for the tagger"), _RECIPE, _start("tagger", "parser"), _SEED)
def train_parser(
    registry: Path,
    output: Path,
    left_out: Path | None,
    recipe: Path | None,
    start: Path | None,
    seed: int | None,
    **given: Any,
) -> None:
    """Train the parser's tagger on labelled strings and registry names."""
    from pipeline.training.parser import LabelFiles, ParserRecipe
    from pipeline.training.parser import train_parser as fit

    chosen = _seeded(ParserRecipe.read(recipe), seed)
    _tell(fit(LabelFiles(**given), registry, output, left_out, chosen, start))


@train.command("reranker")
@_options(_LABELLED, _judgements(", to learn from too"))
@_registry("JSONL of registry records to train word vectors on; by default the built-in ones are taken.")
@_options(
    _LEAVE_OUT, _output("Folder for the reranker"), _RECIPE, _start("reranker", "reranker"), _DEVICE, _SEED
)
def train_reranker(
    affiliation_column: str,
    cluster_column: str,
    fold_column: str,
    recipe: Path | None,
    seed: int | None,
    **given: Any,
) -> None:
    """Train the reranker on labelled strings (affiliation, cluster) and what people judged."""
    from pipeline.training.reranker import RerankerRecipe
    from pipeline.training.reranker import train_reranker as fit

    columns = _columns(affiliation_column, cluster_column, fold_column)
    _tell(fit(columns=columns, recipe=_seeded(RerankerRecipe.read(recipe), seed), **given))


@train.command("names")
@_registry("File of affil registry import.", is_required=True)
@_options(_LEAVE_OUT, _output("Folder for the table"))
def train_names(registry: Path, output: Path, left_out: Path | None) -> None:
    """Make the table of known names of a registry, whose records tell names apart in every run."""
    from pipeline.training.names import train_names as make

    _tell(make(registry, output, left_out))


@train.command("linker")
@_labelled_sets("ids")
@_registry("File of affil registry import.", is_required=True)
@_options(_LEAVE_OUT, _output("Folder for the linker"), _RECIPE, _SEED)
def train_linker(
    registry: Path, output: Path, left_out: Path | None, recipe: Path | None, seed: int | None, **given: Any
) -> None:
    """Fit the linker on strings labelled with ids of a registry."""
    from pipeline.training.linker import read_linker_recipe
    from pipeline.training.linker import train_linker as fit
    from pipeline.training.parser import LabelFiles

    _tell(fit(LabelFiles(**given), registry, output, left_out, _seeded(read_linker_recipe(recipe), seed)))


_MINING = _options(
    click.argument("labels", type=_PATH),
    _AFFILIATION,
    _CLUSTER,
    _SEPARATOR,
    _fold("Column with the values train, tune; other rows are not read. Not needed."),
    _output("File to write: CSV, TSV, JSONL or Parquet"),
    click.option(
        "--encoder",
        default="built-in",
        show_default=True,
        help="Says what lies near: a name, folder or hub id.",
    ),
    click.option("--per-string", default=4, show_default=True, help="Positives, and negatives, a string."),
    click.option("--max-similarity", default=0.95, show_default=True, help="A nearer negative is left out."),
    click.option(
        "--raw", "is_raw", is_flag=True, help="Strings as they are, not what a run compares of them."
    ),
    _DEVICE,
    click.option("--seed", default=0, show_default=True),
)


@train.command("triplets")
@_MINING
def mine_triplets(**given: Any) -> None:
    """Mine triplets (anchor, positive, negative) from labelled strings (affiliation, cluster)."""
    from pipeline.training import mining

    _mine(mining.mine_triplets, **given)


@train.command("pairs")
@_MINING
def mine_pairs(**given: Any) -> None:
    """Mine labelled pairs (left, right, label) from labelled strings (affiliation, cluster)."""
    from pipeline.training import mining

    _mine(mining.mine_pairs, **given)


@train.command("published")
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
    type=_PATH,
    help="Triplets (anchor, positive, negative), pairs (left, right, label) or (affiliation, cluster).",
)
@_options(_AFFILIATION, _CLUSTER, _SEPARATOR, _output("Folder for the model"), _DEVICE, _SEED)
def train_published(
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
    from pipeline.training.fine_tuning import fine_tune
    from pipeline.training.recipe import Recipe

    columns = _columns(affiliation_column, cluster_column, separator=separator)
    recipe = _seeded(Recipe.read(named), seed)
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
    from pipeline.training.mining import MiningSettings, read_labelled

    check_suffix(output)
    settings = MiningSettings(is_raw=is_raw, **given)
    columns = _columns(affiliation_column, cluster_column, fold_column, separator)
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


def _columns(
    affiliation_column: str, cluster_column: str, fold_column: str = "fold", separator: str | None = None
) -> Any:
    from pipeline.training.labels import Columns

    return Columns(affiliation_column, cluster_column, fold_column, separator)


def _seeded(recipe: Any, seed: int | None) -> Any:
    """The recipe with the seed of the command line, where one is given."""
    return recipe if seed is None else replace(recipe, seed=seed)


def _tell(lines: Any) -> None:
    """Run a training to its end; it yields a line a step."""
    for line in lines:
        click.echo(line)
