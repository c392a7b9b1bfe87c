"""Fine-tune a transformer as a recipe says: examples in, a folder that a run can name as its model out.

Looks at held-out rows, checkpoints and the best model are the work of Sentence Transformers' trainers. The
checkpoints lie beside the output, in `OUTPUT.training`, until it is there.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blocking.conversion.cache import write_whole
from blocking.torch_search import torch_device
from pipeline.errors import UsageError
from pipeline.run_folder import fingerprint_of
from pipeline.training.curves import Look, Similarities, draw
from pipeline.training.labels import Columns
from pipeline.training.material import Material, read_material
from pipeline.training.recipe import Recipe, Say, TrainingRun
from pipeline.writing import unwritable, write_json, write_text

log = logging.getLogger(__name__)

RECORD, PICTURE = "training.json", "training.svg"
_WORK_RECORD = "run.json"
_LIBRARIES = ("torch", "sentence_transformers", "accelerate", "datasets")


@dataclass(frozen=True)
class FineTuned:
    """What came out.

    Attributes:
        folder: the model.
        looks: of each stage, the looks at the test rows.
        before, after: similarities of the test rows; of a reranker none.
    """

    folder: Path
    looks: list[list[Look]]
    before: Similarities | None
    after: Similarities | None

    def best(self, measure: str) -> Look:
        """The look whose weights were kept: that of the last stage which is best in "loss" or "map"."""
        # At step 0 nothing is kept.
        looks = self.looks[-1][1:]
        return min(looks, key=lambda look: look.test[measure] * (-1 if measure == "map" else 1))


def fine_tune(
    recipe: Recipe,
    start: str,
    data: Path,
    output: Path,
    *,
    device: str = "auto",
    columns: Columns | None = None,
    say: Say = log.info,
) -> FineTuned:
    """Train a model; a run that was interrupted goes on from its last checkpoint.

    Args:
        recipe: how.
        start: the model to start from: a preset, a folder or a hub id.
        data: triplets (anchor, positive, negative), pairs (left, right, label) or labelled strings
            (affiliation, cluster), in any format that is read.
        output: folder to come.
        device: "auto", "cpu" or "cuda".
        columns: names of the columns of labelled strings.
        say: takes a line at each step worth telling.

    Raises:
        UsageError: a library or file that is missing, a model that the recipe does not fit, an output that is
            there already, or checkpoints of another training.
    """
    _check_libraries()
    if output.exists():
        raise UsageError(f"{output} is there already; name a folder that is not")
    identity = fingerprint_of([data], dataclasses.asdict(recipe) | {"from": start})
    train, test = read_material(data, recipe, columns or Columns())
    say(f"{len(train):,} rows to learn from, {len(test):,} to test by")
    place = torch_device(device)
    half = recipe.is_bfloat16 and _has_bfloat16(place)
    if recipe.is_bfloat16 and not half:
        say("no GPU that has bfloat16: computing in float32")
    fit = _encoder if recipe.kind == "encoder" else _reranker
    with _work_folder(output, identity, say) as work:
        model, found = fit(TrainingRun(recipe, place, half, work, say), start, train, test)
        found = dataclasses.replace(found, folder=output)
        record = _record(recipe, start, identity, found, len(train), len(test))
        try:
            write_whole(output, lambda folder: _write(model, folder, record, found))
        except OSError as error:
            raise unwritable(error, output) from error
        shutil.rmtree(work)
    return found


def _check_libraries() -> None:
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"fine-tuning needs {', '.join(missing)}: pip install 'affiliation-resolver[models,training]'"
        )


@contextmanager
def _work_folder(output: Path, identity: str, say: Say) -> Iterator[Path]:
    """The folder of the checkpoints, left as it is where there are some; one that is there must be ours."""
    work = output.with_name(f"{output.name}.training")
    if work.exists():
        try:
            known = json.loads((work / _WORK_RECORD).read_text(encoding="utf-8"))["identity"]
        except (OSError, ValueError, LookupError, TypeError):
            known = None
        if known != identity:
            raise UsageError(
                f"{work} holds checkpoints of another training (model, recipe or data differ); remove it, or"
                " choose another --output"
            )
        say(f"going on with the training in {work}")
    else:
        write_json({"identity": identity}, work / _WORK_RECORD)
    try:
        yield work
    finally:
        if any(work.glob("*/checkpoint-*")):
            say(f"checkpoints are in {work}; the same command goes on from the last one")
        else:
            shutil.rmtree(work, ignore_errors=True)


def _has_bfloat16(device: str) -> bool:
    import torch

    return device == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _encoder(run: TrainingRun, start: str, train: Material, test: Material) -> tuple[Any, FineTuned]:
    from pipeline.training.starting import start_encoder
    from pipeline.training.trainers import prepare, train_encoder

    prepare(run.recipe.seed)
    model = start_encoder(start, run.recipe, run.device)
    before = _similarities(model, test)
    looks = []
    for number, kind in enumerate(run.recipe.negatives, 1):
        if len(run.recipe.negatives) > 1:
            run.say(f"stage {number} of {len(run.recipe.negatives)}: negatives {kind}")
        sides = [side.with_negatives(kind, model, run.recipe) for side in (train, test)]
        looks.append(train_encoder(run, model, sides[0], sides[1], f"stage-{number}"))
    after = _similarities(model, test)
    run.say(
        f"test rows whose positive is nearer than their negative: {before.nearer:.4f} before,"
        f" {after.nearer:.4f} after"
    )
    model.keep_prompt()
    return model.inner, FineTuned(run.work, looks, before, after)


def _similarities(model: Any, test: Material) -> Similarities:
    rows = test.triplets
    anchor = model.encode_anchors(rows.anchor)
    positive = model.encode(rows.positive)
    # Examples without negatives are compared with the positive of the next row.
    negative = np.roll(positive, 1, 0) if rows.negative is None else model.encode(rows.negative)
    return Similarities.of(*((anchor * other).sum(1) for other in (positive, negative)))


def _reranker(run: TrainingRun, start: str, train: Material, test: Material) -> tuple[Any, FineTuned]:
    from pipeline.training.starting import start_reranker
    from pipeline.training.trainers import prepare, train_reranker

    prepare(run.recipe.seed)
    model = start_reranker(start, run.recipe, run.device)
    return model, FineTuned(run.work, [train_reranker(run, model, train.pairs, test.pairs)], None, None)


def _record(
    recipe: Recipe, start: str, identity: str, found: FineTuned, n_train: int, n_test: int
) -> dict[str, Any]:
    from pipeline.training.starting import licence_of_start

    plain: dict[str, Any] = {"recipe": dataclasses.asdict(recipe), "from": start, "identity": identity}
    plain |= {"licence of the start": licence_of_start(start), "n_train": n_train, "n_test": n_test}
    plain["stages"] = [[dataclasses.asdict(look) for look in stage] for stage in found.looks]
    for name in ("before", "after"):
        own = getattr(found, name)
        if own is not None:
            plain[f"similarities {name}"] = dataclasses.asdict(own)
    return plain


def _write(model: Any, folder: Path, record: dict[str, Any], found: FineTuned) -> None:
    """The model as a run loads it, what was measured, picture and card; no example is in any of them."""
    model.save_pretrained(str(folder), create_model_card=False)
    write_json(record, folder / RECORD)
    looks = _in_one_line(found.looks)
    write_text(draw(looks, found.before, found.after), folder / PICTURE)
    kept = found.best(record["recipe"]["best"])
    write_text(_card(record, kept), folder / "README.md")


def _in_one_line(stages: Sequence[Sequence[Look]]) -> list[Look]:
    """Looks of stages after each other, steps counted through."""
    found: list[Look] = []
    for stage in stages:
        done = found[-1].step if found else 0
        found += [dataclasses.replace(look, step=look.step + done) for look in stage]
    return found


def _card(record: dict[str, Any], kept: Look) -> str:
    recipe = record["recipe"]
    figures = ", ".join(f"{name} {value:.4f}" for name, value in kept.test.items())
    return (
        f"---\nlicense: {record['licence of the start']}\n---\n\n# Fine-tuned {recipe['kind']}\n\n"
        f"From `{record['from']}`, whose licence goes on, by `affil train published` on {record['n_train']:,}"
        f" rows; {figures} on {record['n_test']:,} others. What was measured:"
        f" [{RECORD}]({RECORD}), [{PICTURE}]({PICTURE}).\n"
    )
