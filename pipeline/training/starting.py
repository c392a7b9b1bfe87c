"""The model that fine-tuning starts from, and how its texts are put to it; needs PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blocking.assembly import assemble, is_mask_model, longest_input
from blocking.checkpoints import encoder_folder
from blocking.encoders import BUILT_IN
from blocking.hub import fetch, split_revision
from blocking.pairs import Float32s
from blocking.prompts import Template, is_template, resolve
from blocking.protocols import normalise_rows
from blocking.settings import Progress
from pipeline.errors import UsageError
from pipeline.model_check import licence_of
from pipeline.model_list import BUILT_IN_ENCODER
from pipeline.presets import locate, locate_kind
from pipeline.scoring.reranker_folder import reranker_folder
from pipeline.training.recipe import Recipe

#: What a trained model's own prompt is called.
PROMPT = "trained"


@dataclass
class Prompt:
    """What is put around a text: nothing, a text before it, or a sentence."""

    text: str
    template: Template | None

    def fill(self, texts: Sequence[str]) -> list[str]:
        """Texts to what the model reads of them."""
        return self.template.fill(texts) if self.template else [f"{self.text}{text}" for text in texts]


@dataclass
class Model:
    """A sentence model with the recipe's prompts; an encoder as blocking knows them.

    Attributes:
        inner: the model of Sentence Transformers.
        anchor, other: the prompts.
        name: where it came from.
    """

    inner: Any
    anchor: Prompt
    other: Prompt
    name: str

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.inner.get_embedding_dimension() or self.encode([" "]).shape[1])

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float32s:
        """Texts, as positives and negatives are, to float32 vectors of length 1."""
        return self._encode(self.other.fill(texts))

    def encode_anchors(self, texts: Sequence[str]) -> Float32s:
        """The same for anchors."""
        return self._encode(self.anchor.fill(texts))

    def keep_prompt(self) -> None:
        """The prompt of positives and negatives becomes the model's own: runs read as training did."""
        if self.other.text:
            self.inner.prompts = {**(self.inner.prompts or {}), PROMPT: self.other.text}
            self.inner.default_prompt_name = PROMPT

    def _encode(self, texts: list[str]) -> Float32s:
        self.inner.eval()
        found = self.inner.encode(texts, prompt="", show_progress_bar=False, convert_to_numpy=True)
        return normalise_rows(found.reshape(len(texts), -1))


def start_encoder(source: str, recipe: Recipe, device: str) -> Model:
    """A preset, folder or hub id to the model to train, its weights in float32.

    Raises:
        UsageError: a model that is no transformer, or that the recipe does not fit.
        BlockingError: there is no such model, or it cannot be converted or loaded.
    """
    if source in (*BUILT_IN, BUILT_IN_ENCODER):
        raise UsageError(f"{source} is no transformer; affil train encoder trains one of its kind")
    preset, place = locate_kind(source, "encoder")
    folder = encoder_folder(*split_revision(place))
    inner = assemble(folder, device, recipe.pooling, recipe.projection)
    config = getattr(getattr(inner[0], "auto_model", None), "config", None)
    if config is None:
        raise UsageError(f"{source} looks vectors up and has no layers to fine-tune; give a transformer")
    inner.max_seq_length = longest_input(config, inner.max_seq_length, recipe.max_length)
    named = {**(preset.prompts if preset else {}), **(inner.prompts or {})}
    is_mask = recipe.pooling == "mask" or is_mask_model(folder)
    texts = [resolve(text or None, named, None) for text in (recipe.anchor_prompt, recipe.text_prompt)]
    if is_mask:
        # Without a sentence a mask model has no vector: that of the folder holds where the recipe has none.
        texts = [text or next(iter(named.values()), "") for text in texts]
        inner.prompts = {}
    prompts = [
        Prompt(text, Template(text, inner.tokenizer, inner.max_seq_length, needs_mask=is_mask))
        if is_mask or is_template(text)
        else Prompt(text, None)
        for text in texts
    ]
    model = Model(inner, prompts[0], prompts[1], source)
    too_long = [d for d in recipe.nested_dimensions if d > model.dimensions]
    if too_long:
        raise UsageError(
            f"recipe: nested_dimensions {too_long}: {source} has {model.dimensions} dimensions and no more"
        )
    return model


def start_reranker(source: str, recipe: Recipe, device: str) -> Any:
    """A preset, folder or hub id to the cross-encoder to train; its logits come as they are.

    Raises:
        AffilError: there is no such model, it is no reranker, or it cannot be converted.
    """
    import torch
    from sentence_transformers import CrossEncoder

    _, place = locate_kind(source, "reranker")
    folder = reranker_folder(*split_revision(place))
    model = CrossEncoder(
        str(folder),
        device=device,
        activation_fn=torch.nn.Identity(),
        model_kwargs={"dtype": torch.float32},
        trust_remote_code=False,
        local_files_only=True,
    )
    if model.num_labels != 1:
        raise UsageError(f"reranker {source!r} has {model.num_labels} outputs; a reranker has one")
    model.max_length = longest_input(model[0].auto_model.config, model.max_length, recipe.max_length)
    return model


def licence_of_start(source: str) -> str:
    """A preset, folder or hub id to its licence, which what is made of it takes over."""
    preset, place = locate(source)
    return preset.licence if preset else licence_of(fetch(*split_revision(place)))
