"""What a person sees in the terminal: bars with rate and time left, and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.stage_log import Watcher

if TYPE_CHECKING:
    from pipeline.changes import Changes
    from pipeline.evaluation import Evaluation
    from pipeline.explanation import Explanation, Link
    from pipeline.model_check import ModelCheck
    from pipeline.records import Progress

#: Features that are shown of a pair, the weightiest first; `--json` gives all.
_N_FEATURES = 6
#: Pairs between two sides that are shown, the most probable first.
_N_BETWEEN = 5
_SUMMARY = {
    "rows": "rows read",
    "set_aside": "occurrences set aside",
    "distinct": "distinct strings",
    "mentions": "mentions",
    "pairs_proposed": "pairs proposed",
    "pairs_rescored": "pairs rescored",
    "institutions": "institutions",
    "largest_cluster": "largest cluster",
}


@contextmanager
def bars(is_shown: bool) -> Iterator[Watcher | None]:
    """Progress bars on standard error, one a stage: a watcher for `StageLog`; None where none are wanted."""
    if not is_shown:
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description:<12}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as progress:
        current: list[Any] = []

        def watch(stage: str) -> Progress:
            finish()
            task = progress.add_task(stage, total=None, rate="")
            current.append(task)

            def tick(done: int, total: int) -> None:
                speed = progress.tasks[progress.task_ids.index(task)].speed
                rate = f"{speed:,.0f}/s" if speed else ""
                progress.update(task, completed=done, total=total, rate=rate)

            return tick

        def finish() -> None:
            for task in current:
                total = progress.tasks[progress.task_ids.index(task)].total
                progress.update(task, completed=total or 1, total=total or 1)
            current.clear()

        yield watch
        finish()


def print_summary(manifest: Mapping[str, Any], folder: Any) -> None:
    """The figures of a run, and where its report is."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Run", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, label in _SUMMARY.items():
        table.add_row(label, f"{manifest['counts'][name]:,}")
    table.add_row("seconds", f"{manifest['seconds']:,.1f}")
    table.add_row("peak memory, MB", f"{max((s['peak_memory_mb'] for s in manifest['stages']), default=0):,}")
    console = Console()
    console.print(table)
    for warning in manifest.get("warnings", []):
        console.print(f"[yellow]warning:[/] {_plain(warning)}")
    console.print(f"tables: {_plain(folder)}", highlight=False, soft_wrap=True)
    console.print(f"report: {_plain(folder / 'report.html')}", highlight=False, soft_wrap=True)


def print_reused(manifest: Mapping[str, Any]) -> None:
    """Which stages an earlier run had finished, and which were run now; nothing where none was reused."""
    from pipeline.stages import NEEDS

    stages = [s for s in manifest["stages"] if s["name"] in NEEDS]
    reused = [s["name"] for s in stages if s["is_reused"]]
    if reused:
        again = [s["name"] for s in stages if not s["is_reused"]] + ["write"]
        _line(f"kept from an earlier run: {', '.join(reused)}; run now: {', '.join(again)}")


def _line(text: str) -> None:
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(_plain(text))


def print_evaluation(evaluation: Evaluation) -> None:
    """Measures with their intervals, and the reliability of the probabilities as bars."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Against gold", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, value, low, high in evaluation.table():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        table.add_row(name, shown, "" if low is None else f"{low:.4f} – {high:.4f}")
    console = Console()
    console.print(table)
    if evaluation.calibration:
        console.print(reliability_table(evaluation.calibration))
    for warning in evaluation.warnings:
        console.print(f"[yellow]warning:[/] {_plain(warning)}")


def reliability_table(calibration: Any) -> Any:
    """Stated against observed probability by bin: a calibrated model has equal bars."""
    from rich.table import Table

    table = Table(title="Reliability of the match probability (pairs in gold)", title_justify="left")
    for name in ("stated", "observed", "pairs"):
        table.add_column(name, justify="right")
    table.add_column("stated ░ observed █")
    for row in calibration.bins:
        if row.n_pairs:
            figure = "░" * round(20 * row.mean_probability) + "\n" + "█" * round(20 * row.observed_share)
            table.add_row(
                f"{row.mean_probability:.3f}", f"{row.observed_share:.3f}", f"{row.n_pairs:,}", figure
            )
    return table


def print_models(entries: Sequence[Mapping[str, Any]]) -> None:
    """Models as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("name", "kind", "licence", "size", "what", "how to choose it"):
        table.add_column(name, overflow="fold", no_wrap=name == "name")
    for e in entries:
        size = "" if e["bytes"] is None else f"{e['bytes'] / 1000:,.0f} kB"
        table.add_row(e["name"], e["kind"], e["licence"], size, e["what"], _plain(e["choose"]))
    Console().print(table)


def print_check(found: ModelCheck) -> None:
    """What a model is, its licence's warning, and stated against measured similarities."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=_plain(found.name), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, value in found.facts.items():
        shown = "\n".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        shown = f"{shown:,}" if isinstance(shown, int) else shown
        table.add_row(label.replace("n_", ""), _plain_lines(str(shown)))
    console.print(table)
    if found.warning:
        console.print(f"[yellow]warning:[/] {_plain(found.warning)}")
    if found.similarities:
        against = Table(title="Similarities that the card states", title_justify="left")
        for name in ("left", "right", "stated", "found", ""):
            against.add_column(name)
        for s in found.similarities:
            mark = "[green]ok[/]" if s.is_near else "[red]off[/]"
            against.add_row(_plain(s.left), _plain(s.right), f"{s.stated:.4f}", f"{s.found:.4f}", mark)
        console.print(against)


def _plain_lines(text: str) -> str:
    return "\n".join(_plain(line) for line in text.splitlines())


def print_explanation(found: Explanation) -> None:
    """The answer in one line, the chain of pairs with its weakest link marked, what would part both."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    verdict = "one institution" if found.is_same else "two institutions"
    console.print(f"[bold]{verdict}[/]")
    console.print(f"  {_plain(found.left)}  [dim]{found.left_entity_id}[/]")
    console.print(f"  {_plain(found.right)}  [dim]{found.right_entity_id}[/]")
    if found.direct:
        console.print("the pair itself:")
        _print_link(console, found.direct, False)
    elif found.left != found.right:
        console.print("the pair itself was not proposed by blocking")
    if found.chain and found.chain != (found.direct,):
        console.print("the chain that joins them:")
        for link in found.chain:
            _print_link(console, link, len(found.chain) > 1 and link is found.weakest)
    elif found.is_same and not found.chain and found.left != found.right:
        console.print("no chain of pairs joins them: both are one record of the registry")
    console.print(_plain(_separation(found)))
    pairs = found.sides.pairs[:_N_BETWEEN] if found.sides else ()
    for pair in pairs:
        console.print(f"  p = {pair.probability:.3f}  {_plain(pair.left)}  |  {_plain(pair.right)}")
    if found.sides and found.sides.n_pairs > len(pairs):
        console.print(f"  and {found.sides.n_pairs - len(pairs):,} more pairs")


def _separation(found: Explanation) -> str:
    """What would part, or join, the two."""
    sides, threshold = found.sides, f"min_match_probability is {found.min_match_probability:g}"
    if sides is None:
        return "only a judgement would part them: cannot-link" if found.is_same else ""
    mean = "none was compared"
    if sides.mean_probability is not None:
        mean = f"{sides.n_pairs:,} were compared, mean of all {sides.mean_probability:.3f}"
    between = f"{sides.n_left:,} × {sides.n_right:,} strings: {mean}"
    if found.is_same:
        return (
            f"they would part at min_match_probability {found.separating:.3f} ({threshold}), into {between}"
        )
    return f"between both institutions {between} ({threshold})"


def _print_link(console: Any, link: Link, is_weakest: bool) -> None:
    mark = " [yellow]← weakest link[/]" if is_weakest else ""
    said = f", {link.judgement} by judgement" if link.judgement else ""
    cosine = "" if link.similarity is None else f"  cosine {link.similarity:.3f}"
    reranker = "" if link.rescored_probability is None else f"  reranker {link.rescored_probability:.3f}"
    console.print(f"  p = {link.probability:.3f}{cosine}{reranker}  by {link.rule}{said}{mark}")
    console.print(f"    {_plain(link.left)}")
    console.print(f"    {_plain(link.right)}")
    console.print(f"    [green]both:[/] {_plain(' '.join(link.shared)) or '–'}")
    if link.alike:
        console.print(f"    [green]alike:[/] {_plain(', '.join(f'{a} ~ {b}' for a, b in link.alike))}")
    only_left, only_right = (_plain(" ".join(words)) or "–" for words in (link.only_left, link.only_right))
    console.print(f"    [red]only one:[/] {only_left} / {only_right}")
    console.print(f"    place: {_plain(link.place)}")
    if link.registry:
        console.print(f"    registry: {_plain(link.registry)}")
    if link.contributions:
        shown = [c for c in link.contributions if c.feature != "intercept"][:_N_FEATURES]
        console.print(f"    features: {_plain(', '.join(f'{c.feature} {c.log_odds:+.2f}' for c in shown))}")


def print_changes(found: Changes, n: int) -> None:
    """How many institutions of each fate there are, and of each the `n` of the most mentions."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    title = f"{found.n_old:,} institutions before, {found.n_new:,} now"
    table = Table(title=title, title_justify="left")
    for name in ("what", "mentions", "before", "after"):
        table.add_column(name, justify="right" if name == "mentions" else "left", overflow="fold")
    for kind, count in found.counts.items():
        rows = [e for e in found.events if e.event == kind]
        for e in rows[:n]:
            other = e.other_id or (e.entity_id if e.preferred_name is not None else "")
            before = f"{_plain(e.previous_name)} [dim]{e.entity_id}[/]" if e.previous_name else ""
            after = f"{_plain(e.preferred_name)} [dim]{other}[/]" if e.preferred_name else ""
            table.add_row(kind, f"{e.n_mentions:,}", before, after)
        if len(rows) > n:
            table.add_row(kind, "", "", f"[dim]{len(rows) - n:,} more[/]")
        if kind == "renumbered" and count:
            table.add_row(kind, "", "", f"[dim]{count:,} institutions have another id[/]")
    console.print(table if table.row_count else f"{title}; nothing changed")


def print_answers(answers: Sequence[Mapping[str, Any]]) -> None:
    """What strings are: the institution, how probable it is, and the alternatives."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for a in answers:
        console.print(f"[bold]{_plain(a['affiliation'])}[/]")
        if a["entity_id"] is None:
            console.print("  no institution of the run")
        else:
            how = "the run has this string" if a["is_known"] else f"like {_plain(a['nearest'])}"
            shown = f"{_plain(a['preferred_name'])}  [dim]{_ids(a)}[/]"
            console.print(f"  {a['match_probability']:.3f}  {shown}  [dim]{how}[/]")
        for other in a["alternatives"]:
            shown = f"{_plain(other['preferred_name'])}  {_ids(other)}"
            console.print(f"  [dim]{other['match_probability']:.3f}  {shown}[/]")


def _ids(institution: Mapping[str, Any]) -> str:
    """The entity id, and that of the registry where there is one."""
    ids = (institution["entity_id"], institution["registry_id"])
    return "  ".join(_plain(i) for i in ids if i is not None)


def print_traces(traces: Sequence[Mapping[str, Any]]) -> None:
    """Where each id lives now, and what happened to it."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for trace in traces:
        here = trace["current"]
        now = "ended: this run has none of its strings" if here is None else here
        console.print(f"{_plain(trace['entity_id'])} → {now}  {_plain(trace['preferred_name'] or '')}")
        for e in trace["events"]:
            other = f" → {e['other_id']}" if e["other_id"] else ""
            names = " → ".join(_plain(x) for x in (e["previous_name"], e["preferred_name"]) if x)
            counted = f"{e['n_mentions']:,} mention{'' if e['n_mentions'] == 1 else 's'}"
            what = f"{e['event']} {e['entity_id']}{other}, {counted}"
            console.print(f"  generation {e['generation']}: {what}  [dim]{names}[/]")


def _plain(text: object) -> str:
    """Text without a meaning for rich: brackets escaped, control characters shown."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() or c == " " else "\ufffd" for c in str(text)))
