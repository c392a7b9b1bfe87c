"""A folder of native classes to a model of Sentence Transformers; tensors that are not there are an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blocking.conversion import read_json
from blocking.conversion.mask_projector import MASK_POOLING, TEMPLATE
from blocking.conversion.plan import check_tensors, shapes_of
from blocking.conversion.spans import read_spans
from blocking.errors import BlockingError

#: Model types whose tensors have in files the names that they have in the class: they can be compared.
_PLAIN = {"bert": "bert.", "gemma3_text": "model.", "xlm-roberta": "roberta."}


def assemble(folder: Path, device: str, pooling: str | None, projection: int = 0) -> Any:
    """A model folder, a device and how to pool in; the sentence model out, in float32.

    Args:
        folder: a folder with modules, or with a transformer alone.
        device: "cpu" or "cuda".
        pooling: "cls" or "mean", for a transformer alone; None takes the library's default, the mean; "mask"
            makes a model of a transformer alone whose vectors are those of its mask token, to be trained.
        projection: dimensions that a new mask model projects to, by random weights.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    check_transformer(folder)
    more = {"model_kwargs": {"dtype": torch.float32}, "local_files_only": True, "trust_remote_code": False}
    if is_mask_model(folder):
        modules, prompts = _mask_modules(folder), read_json(folder / "config_sentence_transformers.json")
        return SentenceTransformer(modules=modules, device=device, prompts=prompts.get("prompts"))
    if pooling == "mask":
        modules = _new_mask_modules(folder, projection)
        return SentenceTransformer(modules=modules, device=device, prompts={"mention": TEMPLATE})
    if pooling is None or (folder / "modules.json").is_file():
        return SentenceTransformer(str(folder), device=device, **more)
    return SentenceTransformer(modules=_pooled(folder, pooling), device=device)


def longest_input(config: Any, *bounds: int | None) -> int | None:
    """A configuration of `transformers` and bounds of others in; the tokens that a model can read out."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions and "roberta" in str(config.model_type):
        # Positions begin behind that of the padding token; past the last one the model fails.
        positions -= config.pad_token_id + 1
    found = [bound for bound in (positions, *bounds) if bound]
    return min(found) if found else None


def _transformer(folder: Path) -> Any:
    import torch
    from sentence_transformers.sentence_transformer.modules import Transformer

    return Transformer(str(folder), model_kwargs={"dtype": torch.float32})


def _pooled(folder: Path, pooling: str) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = _transformer(folder)
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling)]


def is_mask_model(folder: Path) -> bool:
    """Whether a model's vectors are those of its mask token."""
    path = folder / "modules.json"
    if not path.is_file():
        return False
    try:
        return any(module["type"] == MASK_POOLING for module in json.loads(path.read_text("utf-8")))
    except (ValueError, LookupError, TypeError) as error:
        raise BlockingError(f"{path} is no list of modules: fetch it again") from error


def _mask_modules(folder: Path) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Dense

    from blocking.mask_pooling import MaskPooling

    transformer = _transformer(folder)
    pooling = MaskPooling(transformer.tokenizer.mask_token_id)
    return [transformer, pooling, Dense.load(str(folder), subfolder="2_Dense", local_files_only=True)]


def _new_mask_modules(folder: Path, projection: int) -> list[Any]:
    """Modules as a converted mask model has them, the projection untrained."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    from blocking.mask_pooling import MaskPooling

    transformer = _transformer(folder)
    if transformer.tokenizer.mask_token_id is None:
        raise BlockingError(f"{folder}: its tokenizer has no mask token, which pooling by one needs")
    width = transformer.get_embedding_dimension()
    dense = Dense(width, projection or width, activation_function=torch.nn.Identity())
    return [transformer, MaskPooling(transformer.tokenizer.mask_token_id), dense]


def check_transformer(folder: Path, *, is_classifier: bool = False) -> None:
    """A model folder in; nothing out. The library fills a missing tensor with random numbers and goes on.

    Args:
        folder: of the model.
        is_classifier: whether the head that rates texts or pairs belongs to the model.

    Raises:
        BlockingError: tensors of the model are missing, of another shape, or there are more layers than the
            configuration says; it names them.
    """
    config = read_json(folder / "config.json")
    prefix = _PLAIN.get(str(config.get("model_type")))
    if prefix is None:
        return
    spans = read_spans(folder)
    if not spans:
        raise BlockingError(f"{folder} holds no weights (model.safetensors)")
    wanted = shapes_of(_class_of(str(config["model_type"]), is_classifier), config)
    found = {_native_name(name, "" if is_classifier else prefix): span.shape for name, span in spans.items()}
    # What the model holds beside the encoder is a head of another task, and left out.
    own = {name.split(".")[0] for name in wanted}
    check_tensors(
        {n: s for n, s in found.items() if n.split(".")[0] in own - {"pooler"} and "position_ids" not in n},
        {n: s for n, s in wanted.items() if not n.startswith("pooler.")},
        str(folder),
    )


def _class_of(model_type: str, is_classifier: bool) -> str:
    from transformers.models.auto import modeling_auto as auto

    names = (
        auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES if is_classifier else auto.MODEL_MAPPING_NAMES
    )
    return str(names[model_type])


def _native_name(name: str, prefix: str) -> str:
    # BERT's first release had other names for the two numbers of a layer norm.
    legacy = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return legacy.removeprefix(prefix)
