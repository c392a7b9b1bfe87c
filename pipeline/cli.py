"""The command `affil`. The library raises; here an error becomes one line and an exit code."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.engine_options import engine_options
from pipeline.errors import AffilError, UsageError
from pipeline.growth_commands import add, diff, lookup, trace
from pipeline.model_commands import models
from pipeline.registry_commands import registry
from pipeline.review_commands import review
from pipeline.train_commands import train

CLUSTERERS = ("average", "hdbscan", "components", "kmeans")
PUBLISHERS = ("openalex", "crossref", "datacite")
DEVICES = ("auto", "cpu", "cuda")
#: How many new objects Python looks through for dead cycles at a time, and how often through older ones, too.
_GC_THRESHOLD = (100_000, 20, 50)


class _Commands(click.Group):
    """Commands that end in one clear line: 2 for a wrong request, 1 for a run that failed, 130 for Ctrl-C."""

    def invoke(self, context: click.Context) -> Any:
        from blocking.errors import BlockingError

        _settle_surroundings()
        try:
            with _ending_cleanly():
                return super().invoke(context)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "affil"
            _stop(f"{error.format_message()} See '{path} --help'.", 2)
        except (UsageError, BlockingError) as error:
            _stop(str(error), 2)
        except AffilError as error:
            _stop(_with_notes(str(error), error), 1)
        except MemoryError as error:
            _stop(
                _with_notes(
                    "out of memory; give a --memory-limit, close other programs, or run on a part",
                    error,
                ),
                1,
            )
        except BrokenPipeError:
            # Who read our output has gone; closing the stream keeps Python from complaining at exit.
            sys.stderr.close()
            sys.exit(1)
        except OSError as error:
            where = error.filename or "no file named"
            _stop(f"{error.strerror or error}: {where}; check space and permissions", 1)
        except KeyboardInterrupt as error:
            _stop(_with_notes("interrupted; no result was written", error), 130)
        except _Terminated as error:
            _stop(_with_notes("terminated; no result was written", error), 128 + error.number)


class _Terminated(BaseException):
    """A signal asks the process to end; like Ctrl-C, nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _with_notes(line: str, error: BaseException) -> str:
    """What is said of an error, and what was noted on its way: what is kept of a run."""
    return "; ".join([line, *getattr(error, "__notes__", ())])


def _settle_surroundings() -> None:
    """A terminal that cannot show a character gets its escape; model libraries keep to errors.

    Python looks for dead cycles less often than it would: there are few, and it takes its time to go through
    millions of objects that live.
    """
    gc.set_threshold(*_GC_THRESHOLD)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Read by these libraries when they are imported, which is later.
    for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """`kill`, or a terminal that closes, removes what is half-written as Ctrl-C does."""
    raised: list[BaseException] = []

    def end(number: int, _: object) -> None:
        raised.append(KeyboardInterrupt() if number == signal.SIGINT else _Terminated(number))
        raise raised[-1]

    before = {number: signal.signal(number, end) for number in _ending_signals()}
    try:
        yield
    except RuntimeError as error:
        if not raised:
            raise
        # In a query, DuckDB puts an error of its own in the place of what a signal raises.
        for note in getattr(error, "__notes__", ()):
            raised[-1].add_note(note)
        raise raised[-1] from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending_signals() -> list[signal.Signals]:
    """The signals that ask the process to end, but those that it ignores, or that Python does not handle."""
    if threading.current_thread() is not threading.main_thread():
        return []
    known = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    return [number for number in known if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _stop(message: str, code: int) -> None:
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(message.split()))
    click.echo(f"affil: {line}", err=True)
    sys.exit(code)


class _WarningLines(logging.Handler):
    """Warnings of the library as lines on standard error, whatever standard error is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"affil: {' '.join(self.format(record).split())}", err=True)


def _settle_logs(is_quiet: bool) -> None:
    """Warnings become lines, or nothing where only errors are wanted."""
    if is_quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    for name in ("pipeline", "blocking"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler() if is_quiet else _WarningLines(logging.WARNING)]
        logger.propagate = False


def _use_workers(context: click.Context, option: click.Parameter, number: int | None) -> None:
    if number is not None:
        os.environ["AFFIL_WORKERS"] = str(number)


def _keep_to(context: click.Context, option: click.Parameter, size: str | None) -> None:
    if size is not None:
        from blocking.memory import VARIABLE, parse_size

        parse_size(size)
        os.environ[VARIABLE] = size


def _quiet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for scripts, no tables and no bars."
    )
    return click.option("--quiet", is_flag=True, help="Print nothing but errors.")(as_json(command))


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="affiliation-resolver", prog_name="affil")
def main() -> None:
    """Raw affiliation strings in, canonical institution records out."""


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for the tables and the report."
)
@click.option("--column", help="Column of the affiliation strings (guessed when obvious).")
@click.option("--id-column", help="Column of your own ids (else the row number).")
@click.option("--count-column", help="Column that says how often a string occurs (else 1).")
@click.option("--author-columns", help="Columns of work, author and position (a,b,c): rows are authorships.")
@click.option("--year-column", help="Column of years: a row has the registry's record of its year.")
@click.option(
    "--works",
    type=click.Choice(PUBLISHERS),
    help="The input is JSONL of works as one of these publishes them.",
)
@click.option("--encoding", help="Encoding of text files (else detected).")
@click.option(
    "--settings", "settings_file", type=click.Path(path_type=Path), help="TOML file, a table a stage."
)
@click.option("--encoder", help="Name (see affil models), folder or hub id of an encoder.")
@click.option("--truncate-dim", type=int, help="Use only the first N dimensions of the encoder.")
@click.option("--reranker", help="Name, folder or hub id of a reranker for the doubtful pairs, or none.")
@click.option(
    "--clusterer", type=click.Choice(CLUSTERERS), help="How pairs become clusters.  [default: average]"
)
@click.option("--n-clusters", type=int, help="How many clusters kmeans makes (for labels, not institutions).")
@click.option(
    "--registry",
    type=click.Path(path_type=Path),
    help="Registry file that institutions are linked to (affil registry import).",
)
@click.option("--device", type=click.Choice(DEVICES), help="Where models run.  [default: auto]")
@click.option(
    "--judgements", type=click.Path(path_type=Path), help="CSV of pairs that a person joined or kept apart."
)
@click.option(
    "--previous", type=click.Path(path_type=Path), help="An older run; institutions that go on keep its ids."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    expose_value=False,
    callback=_use_workers,
    help="Threads and processes to use.  [default: all cores]",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    expose_value=False,
    callback=_keep_to,
    help="Memory to keep to where work can be cut into smaller pieces, such as 4GB.",
)
@engine_options
@click.option(
    "--into", metavar="ADDRESS", help="Database that gets the tables too: duckdb:///FILE, postgresql://…"
)
@click.option("--overwrite", is_flag=True, help="Replace a run of other input or settings, and its tables.")
@_quiet_options
def resolve(
    inputs: tuple[str, ...],
    output: Path,
    judgements: Path | None,
    previous: Path | None,
    into: str | None,
    quiet: bool,
    as_json: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Resolve affiliation strings into institutions.

    INPUT is CSV, TSV, JSONL, Parquet, XLSX or plain text (one string a line), gzipped or not; a pattern
    such as 'part-*.parquet'; a table, 'duckdb:///FILE?table=NAME' or 'postgresql://HOST/BASE?table=NAME'; or
    - for standard input. The folder gets mentions, institutions, pairs, your own table with the institution
    of each row, and report.html.
    """
    from pipeline.console import bars, print_reused, print_summary
    from pipeline.distributed import engine_named
    from pipeline.job import JobOutcome, run_job, run_job_into
    from pipeline.reading import ReadingSettings

    _settle_logs(quiet)
    settings = _settings(given)
    columns = given["author_columns"]
    reading = ReadingSettings(
        column=given["column"],
        id_column=given["id_column"],
        count_column=given["count_column"],
        encoding=given["encoding"],
        author_columns=tuple(columns.split(",")) if columns is not None else None,
        works=given["works"],
        year_column=given["year_column"],
    )
    run: Callable[..., JobOutcome] = run_job if into is None else partial(run_job_into, into)
    used = engine_named(given["engine"], given["ray_address"])
    with used, bars(not quiet and not as_json and sys.stderr.isatty()) as watch:
        outcome = run(
            *(inputs, output),
            settings=settings,
            reading=reading,
            judgements=judgements,
            previous=previous,
            overwrite=overwrite,
            watch=watch,
        )
    if as_json:
        click.echo(
            json.dumps(
                {"folder": str(outcome.folder), "was_finished": outcome.was_finished} | outcome.manifest
            )
        )
    elif not quiet:
        if outcome.was_finished:
            click.echo(
                f"{outcome.folder} already holds this run (same input, same settings); nothing was done"
            )
        else:
            print_reused(outcome.manifest)
        print_summary(outcome.manifest, outcome.folder)
        if outcome.tables:
            click.echo(f"{into}: {', '.join(outcome.tables)}")


@main.command("link")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--registry",
    required=True,
    type=click.Path(path_type=Path),
    help="Registry file, from affil registry import.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="CSV file to write.")
@click.option(
    "--judgements",
    type=click.Path(path_type=Path),
    help="CSV in which a person says which record a string is.",
)
@click.option("--column", help="Column of the affiliation strings (guessed when obvious).")
@click.option("--encoding", help="Encoding of text files (else detected).")
@click.option(
    "--settings", "settings_file", type=click.Path(path_type=Path), help="TOML file, a table a stage."
)
@_quiet_options
def link_strings(
    inputs: tuple[str, ...],
    registry: Path,
    output: Path,
    judgements: Path | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Link affiliation strings to a registry, one by one: a CSV with ids, probabilities and alternatives.

    INPUT is as for affil resolve, which links whole institutions (--registry) and so is surer.
    """
    from pipeline.console import bars
    from pipeline.link_job import run_link_job
    from pipeline.reading import ReadingSettings
    from pipeline.settings import Settings

    _settle_logs(quiet)
    settings = Settings.read(given["settings_file"]) if given["settings_file"] else Settings()
    settings = settings.with_values(linking={"registry": str(registry)})
    reading = ReadingSettings(given["column"], encoding=given["encoding"])
    with bars(not quiet and not as_json and sys.stderr.isatty()) as watch:
        found = run_link_job(inputs, output, settings, reading, judgements=judgements, watch=watch)
    if as_json:
        click.echo(json.dumps(vars(found) | {"file": str(found.file)}))
    elif not quiet:
        click.echo(
            f"{found.file}: {found.n_linked:,} of {found.n_mentions:,} organisations in"
            f" {found.n_strings:,} strings have an id"
        )


def _settings(given: dict[str, Any]) -> Any:
    """The settings file with the options of the command line on top."""
    from pipeline.settings import Settings

    settings = Settings.read(given["settings_file"]) if given["settings_file"] else Settings()
    device = given["device"]
    changes: dict[str, dict[str, Any]] = {
        "blocking": {"encoder": given["encoder"], "truncate_dim": given["truncate_dim"], "device": device},
        "scoring": {"reranker": given["reranker"], "device": device},
        "clustering": {"clusterer": given["clusterer"], "n_clusters": given["n_clusters"]},
        "linking": {"registry": None if given["registry"] is None else str(given["registry"])},
    }
    return settings.with_values(
        **{section: {k: v for k, v in values.items() if v is not None} for section, values in changes.items()}
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--gold", required=True, type=click.Path(path_type=Path), help="CSV, TSV, JSONL or Parquet with labels."
)
@click.option("--affiliation-column", default="affiliation", show_default=True)
@click.option("--cluster-column", default="cluster", show_default=True, help="A label, or a list of labels.")
@click.option("--separator", help="What separates several labels in one cell.")
@click.option("--fold", help="Only gold rows of this fold.")
@click.option("--fold-column", default="fold", show_default=True)
@click.option("--save", is_flag=True, help="Keep the figures in the run folder and its report.")
@_quiet_options
def evaluate(run: Path, gold: Path, quiet: bool, as_json: bool, save: bool, **given: Any) -> None:
    """Hold a run against labelled strings: pairwise and B³ precision, recall, F1, calibration."""
    from pipeline import evaluation
    from pipeline.console import print_evaluation
    from pipeline.explanation import reasons_of_run
    from pipeline.report import read_run
    from pipeline.run_folder import save_evaluation

    tables = read_run(run)
    labels = evaluation.read_gold(
        gold,
        given["affiliation_column"],
        given["cluster_column"],
        given["fold"],
        given["fold_column"],
        separator=given["separator"],
    )
    found = evaluation.evaluate(tables.mentions, labels, pairs=tables.pairs)
    if save:
        save_evaluation(run, replace(tables, reasons=reasons_of_run(run)), found)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    elif not quiet:
        print_evaluation(found)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("left")
@click.argument("right")
@_quiet_options
def explain(run: Path, left: str, right: str, quiet: bool, as_json: bool) -> None:
    """Tell why two strings (or names, or mention ids) of a run are, or are not, one institution."""
    from pipeline import explanation
    from pipeline.console import print_explanation
    from pipeline.run_folder import read_frames

    tables = read_frames(run)
    known = explanation.background_of(run, tables)
    found = explanation.explain(tables.mentions, tables.pairs, left, right, known)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    elif not quiet:
        print_explanation(found)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def report(run: Path, quiet: bool) -> None:
    """Write the HTML report of a run again."""
    from pipeline.explanation import reasons_of_run
    from pipeline.report import write_report

    path = write_report(run, reasons_of_run(run))
    if not quiet:
        click.echo(f"report: {path}")


main.add_command(add)
main.add_command(diff)
main.add_command(lookup)
main.add_command(models)
main.add_command(registry)
main.add_command(review)
main.add_command(trace)
main.add_command(train)


if __name__ == "__main__":
    main()
