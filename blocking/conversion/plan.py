"""What a conversion is: native configurations and renamed tensors, held against the native class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocking.conversion.cache import files_of
from blocking.conversion.spans import Span, write_spans
from blocking.errors import BlockingError

WEIGHTS = "model.safetensors"
#: Keys of any configuration that do not change what a forward pass computes.
COMMON_KEYS = frozenset(
    (
        *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"),
        *("bos_token_id", "cls_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "mask_token_id"),
        *("id2label", "label2id", "num_labels", "problem_type", "tokenizer_class", "model_type"),
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "initializer_range"),
        *("use_cache", "output_past", "sentence_transformers", "is_decoder", "add_cross_attention"),
        *("tie_word_embeddings", "gradient_checkpointing"),
    )
)


@dataclass(frozen=True)
class Checkpoint:
    """A model folder as it was published: its configuration and where its tensors lie."""

    folder: Path
    config: Mapping[str, Any]
    spans: Mapping[str, Span]

    def refuse(self, why: str) -> BlockingError:
        """What is wrong in; the error that names the configuration file out."""
        return BlockingError(f"{self.folder / 'config.json'}: {why}; the model is not converted")

    def require_known(self, known: Iterable[str], fixed: Mapping[str, Sequence[Any]]) -> None:
        """Configuration keys that a conversion understands, and those that may hold certain values only, in.

        Raises:
            BlockingError: a key is unknown or holds another value: a silently wrong model otherwise.
        """
        known = {*known, *fixed, *COMMON_KEYS}
        for key, value in self.config.items():
            if key not in known:
                raise self.refuse(f"unknown key {key!r} ({json.dumps(value)[:60]})")
            if key in fixed and value not in fixed[key]:
                allowed = " or ".join(json.dumps(v) for v in fixed[key])
                raise self.refuse(f"{key!r} is {json.dumps(value)[:60]}, and only {allowed} is understood")

    def number(self, key: str, kind: type = int) -> Any:
        """A key in; its positive number out, `BlockingError` where there is none."""
        value: Any = self.config.get(key)
        kinds = int if kind is int else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
            raise self.refuse(f"{key!r} must be a positive number, got {json.dumps(value)}")
        return value


@dataclass(frozen=True)
class Plan:
    """What the converted folder holds beside the files that are copied as they are.

    Attributes:
        kind: names the conversion in folder names and messages.
        native_class: class of `transformers` that the tensors of `model.safetensors` belong to.
        config: its configuration.
        tensors: its tensors by their native names.
        more_json: further JSON files, by path.
        more_tensors: further safetensors files, by path.
    """

    kind: str
    native_class: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Span]
    more_json: Mapping[str, Any] = field(default_factory=dict)
    more_tensors: Mapping[str, Mapping[str, Span]] = field(default_factory=dict)

    def write(self, source: Path, target: Path) -> None:
        """The published folder and an empty one in; the second one filled.

        Raises:
            BlockingError: the native class wants other tensors; it names them.
        """
        wanted = shapes_of(self.native_class, self.config)
        # BERT's pooler is read by no one here, and may be there or not.
        own = {n: s for n, s in wanted.items() if not n.startswith("pooler.") or n in self.tensors}
        check_tensors({name: span.shape for name, span in self.tensors.items()}, own, str(source))
        copy_rest(source, target)
        for path, content in {"config.json": self.config, **self.more_json}.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for path, spans in {WEIGHTS: self.tensors, **self.more_tensors}.items():
            write_spans(spans, target / path)


def copy_rest(source: Path, target: Path) -> None:
    """Two folders in; tokenizer, module configurations, card and licence are copied: no weights, no code."""
    for path in files_of(source):
        own = path.relative_to(source)
        is_weight = path.suffix == ".safetensors" or path.name.endswith((".index.json", ".bin", ".onnx"))
        # Weights of further modules (a Dense layer) lie in folders of their own.
        if path.suffix in (".py", ".pyc") or (is_weight and len(own.parts) == 1):
            continue
        (target / own).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / own)


def renamed(
    spans: Mapping[str, Span], rename: Callable[[str], Sequence[str]], folder: Path
) -> dict[str, Span]:
    """Published tensors and what names each in native words in; native tensors out.

    Args:
        spans: tensors by their published names.
        rename: a published name to its native ones: several split the tensor along its first axis, none
            leaves it out, and a name that it does not know it gives back unchanged.
        folder: for the message.

    Raises:
        BlockingError: two published tensors have one native name.
    """
    found: dict[str, Span] = {}
    for name, span in spans.items():
        names = rename(name)
        parts = span.split(len(names)) if len(names) > 1 else [span] * len(names)
        for new, part in zip(names, parts, strict=True):
            if new in found:
                raise BlockingError(f"{folder}: two tensors for {new}, the second one is {name}")
            found[new] = part
    return found


def check_tensors(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Shapes of native tensors, those that the class wants, and the folder in; nothing out.

    Raises:
        BlockingError: tensors are missing, left over or of another shape; it names them.
    """
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = [name for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]]
    faults = [f"missing: {_some(missing)}"] * bool(missing) + [f"unexpected: {_some(more)}"] * bool(more)
    if other:
        faults.append(f"of another shape: {_some(other)} ({found[other[0]]} and not {wanted[other[0]]})")
    if faults:
        raise BlockingError(f"{where}: the tensors are not those of the configuration ({'; '.join(faults)})")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def shapes_of(native_class: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """A class of `transformers` and its configuration in; the shape of each of its tensors out."""
    import torch
    import transformers

    chosen = getattr(transformers, native_class)
    with torch.device("meta"):
        model = chosen(chosen.config_class.from_dict(dict(config)))
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
