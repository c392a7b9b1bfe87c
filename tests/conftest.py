"""Tiny random models in the published file layout, written by the tests themselves: nothing is fetched."""

from __future__ import annotations

import atexit
import os
import shutil
import string
import tempfile
from pathlib import Path
from typing import Any

import pytest

# Read when the library is first imported, which any test may cause: no test asks a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# Converted models go where the system cleans up, not into the cache of whoever runs the tests.
os.environ["AFFIL_CACHE"] = tempfile.mkdtemp(prefix="affil-cache-")
atexit.register(shutil.rmtree, os.environ["AFFIL_CACHE"], ignore_errors=True)

_WORDS = "university of oxford cambridge department physics hospital institute college uk germany".split()  # noqa: SIM905


def _tokenizer() -> Any:
    """A WordPiece tokenizer of some words and single letters, with both templates of BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    vocabulary = {token: number for number, token in enumerate([*special, *_WORDS, *letters])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def _config(n_tokens: int, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=n_tokens,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.5,
        **more,
    )


def write_cross_encoder(folder: Path, n_outputs: int = 1) -> Path:
    """A folder in, the same with a random BERT that rates pairs out."""
    import torch
    from transformers import BertForSequenceClassification

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = _config(len(tokenizer), num_labels=n_outputs)
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-encoder with one output."""
    pytest.importorskip("sentence_transformers")
    return write_cross_encoder(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sentence-transformers model with mean pooling, 32 dimensions."""
    pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel

    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("encoder")
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(plain)
    torch.manual_seed(0)
    BertModel(_config(len(tokenizer))).save_pretrained(plain)
    SentenceTransformer(modules=[Transformer(str(plain)), Pooling(32, "mean")]).save(str(folder))
    return folder
