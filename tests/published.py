"""Tiny random checkpoints in the key layout and file format of the published models; nothing is fetched."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

WORDS = (
    *("university", "of", "oxford", "cambridge", "stanford", "california", "berkeley", "massachusetts"),
    *("institute", "technology", "department", "computer", "science", "physics", "hospital", "college"),
    *("uk", "germany", "social", "group", "is", "title", "none", "text", "task", "search", "result"),
    *("query", ":", "|", ".", "the"),
)
LETTERS = [*string.ascii_lowercase, *string.digits]


def write_tokenizer(folder: Path, *, kind: str = "bert", max_length: int = 512) -> int:
    """A folder and "bert", "xlm-roberta" or "gemma" in; a tokenizer of some words in it, its size out."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = {
        "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        "xlm-roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        "gemma": ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
    }[kind]
    vocabulary = {t: n for n, t in enumerate([*names, *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)])}
    pad, unknown, first, last, mask = {
        "bert": names,
        "xlm-roberta": (names[1], names[3], names[0], names[2], names[4]),
        "gemma": (names[0], names[3], names[2], names[1], names[4]),
    }[kind]
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    between = last if kind == "bert" else f"{last} {last}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {between} $B {last}",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        cls_token=first,
        sep_token=last,
        bos_token=first,
        eos_token=last,
    ).save_pretrained(folder)
    return len(vocabulary)


def _random(shapes: dict[str, tuple[int, ...]], seed: int, scale: float = 0.25) -> dict[str, Any]:
    """Tensors of normal numbers; those of layer norms lie around 1."""
    import torch

    source = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=source) * scale
        is_norm = name.endswith(("LayerNorm.weight", "_ln.weight", "norm1.weight", "norm2.weight"))
        found[name] = values + 1 if is_norm else values
    return found


def save(
    folder: Path, config: dict[str, Any] | None, tensors: dict[str, Any], *, form: str = "safetensors"
) -> None:
    """A folder, a configuration and tensors in; `config.json` and weights as safetensors or "bin" in it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    if form == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_gte(
    folder: Path, *, prefix: str = "new.", head: bool = False, packed: bool = True, **config: Any
) -> Path:
    """GTE's own format: two layers of 32 dimensions, RoPE with static NTK scaling of 8."""
    folder.mkdir(parents=True, exist_ok=True)
    n_tokens = write_tokenizer(folder, kind="xlm-roberta", max_length=32768)
    given = {
        "architectures": ["NewModel"],
        "attention_probs_dropout_prob": 0.0,
        "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"},
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-12,
        "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
        "max_position_embeddings": 8192,
        "model_type": "new",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pack_qkv": packed,
        "pad_token_id": 1,
        "position_embedding_type": "rope",
        "rope_scaling": {"factor": 8.0, "type": "ntk"},
        "rope_theta": 20000,
        "torch_dtype": "float32",
        "transformers_version": "4.40.0",
        "type_vocab_size": 1,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
        "vocab_size": n_tokens,
    } | config
    d, inner = given["hidden_size"], given["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (n_tokens, d)}
    if given["type_vocab_size"]:
        shapes["embeddings.token_type_embeddings.weight"] = (given["type_vocab_size"], d)
    shapes |= {"embeddings.LayerNorm.weight": (d,), "embeddings.LayerNorm.bias": (d,)}
    for n in range(given["num_hidden_layers"]):
        layer = f"encoder.layer.{n}."
        for name in ("qkv_proj",) if packed else ("q_proj", "k_proj", "v_proj"):
            width = 3 * d if packed else d
            shapes |= {
                f"{layer}attention.{name}.weight": (width, d),
                f"{layer}attention.{name}.bias": (width,),
            }
        shapes |= {f"{layer}attention.o_proj.weight": (d, d), f"{layer}attention.o_proj.bias": (d,)}
        shapes |= {f"{layer}mlp.up_gate_proj.weight": (2 * inner, d)}
        shapes |= {f"{layer}mlp.down_proj.weight": (d, inner), f"{layer}mlp.down_proj.bias": (d,)}
        for norm in ("attn_ln", "mlp_ln"):
            shapes |= {f"{layer}{norm}.weight": (d,), f"{layer}{norm}.bias": (d,)}
    tensors = {f"{prefix}{name}": value for name, value in _random(shapes, 1).items()}
    if head:
        tensors |= _random({"classifier.weight": (1, d), "classifier.bias": (1,)}, 2)
    save(folder, given, tensors)
    return folder


def write_jina(folder: Path, **config: Any) -> Path:
    """XLM-RoBERTa in the flash layout, with a classifier of one output: two layers of 32 dimensions."""
    folder.mkdir(parents=True, exist_ok=True)
    n_tokens = write_tokenizer(folder, kind="xlm-roberta", max_length=64)
    d, inner, n_positions = 32, 48, 66
    given = {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {"AutoModel": "modeling_xlm_roberta.XLMRobertaModel"},
        "bos_token_id": 0,
        "classifier_dropout": None,
        "emb_pooler": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": d,
        "id2label": {"0": "LABEL_0"},
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": 1e-05,
        "load_trained_adapters": False,
        "lora_adaptations": None,
        "max_position_embeddings": n_positions,
        "model_type": "xlm-roberta",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"},
        "torch_dtype": "float32",
        "type_vocab_size": 1,
        "use_cache": False,
        "use_flash_attn": True,
        "vocab_size": n_tokens,
    } | config
    shapes: dict[str, tuple[int, ...]] = {
        "roberta.embeddings.word_embeddings.weight": (n_tokens, d),
        "roberta.embeddings.position_embeddings.weight": (n_positions, d),
        "roberta.embeddings.token_type_embeddings.weight": (1, d),
    }
    norms = ["roberta.emb_ln"]
    linears = {"classifier.dense": (d, d), "classifier.out_proj": (1, d)}
    for n in range(2):
        layer = f"roberta.encoder.layers.{n}."
        linears |= {f"{layer}mixer.Wqkv": (3 * d, d), f"{layer}mixer.out_proj": (d, d)}
        linears |= {f"{layer}mlp.fc1": (inner, d), f"{layer}mlp.fc2": (d, inner)}
        norms += [f"{layer}norm1", f"{layer}norm2"]
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    tensors = _random(shapes, 3)
    save(folder, given, tensors)
    return folder


def bert_config(n_tokens: int, d: int, n_heads: int, **config: Any) -> dict[str, Any]:
    """The configuration of a BERT of two layers."""
    return {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": d,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64,
        "model_type": "bert",
        "num_attention_heads": n_heads,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": n_tokens,
    } | config


def bert_tensors(config: dict[str, Any], seed: int, prefix: str = "") -> dict[str, Any]:
    """The tensors of a BERT with its pooler, as `BertModel` names them behind a prefix."""
    d, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
    }
    linears, norms = {"pooler.dense": (d, d)}, ["embeddings.LayerNorm"]
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}."
        linears |= {f"{layer}attention.self.{name}": (d, d) for name in ("query", "key", "value")}
        linears |= {f"{layer}attention.output.dense": (d, d), f"{layer}intermediate.dense": (inner, d)}
        linears |= {f"{layer}output.dense": (d, inner)}
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    return {f"{prefix}{name}": value for name, value in _random(shapes, seed).items()}


def write_mask(folder: Path, *, with_config: bool = False) -> Path:
    """The mention embedder: a BERT behind `encoder.`, a projector to 16 dimensions, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = bert_config(write_tokenizer(folder, max_length=512), 128, 2)
    projector = _random({"projector.0.weight": (16, 128), "projector.0.bias": (16,)}, 5)
    save(folder, config if with_config else None, bert_tensors(config, 4, "encoder.") | projector)
    return folder


def write_aspire(folder: Path, *, form: str = "bin") -> Path:
    """SciBERT's layout: a plain BERT, saved as a pickle as the published one is, or as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = bert_config(write_tokenizer(folder, max_length=10**30), 32, 2)
    save(folder, config, bert_tensors(config, 6), form=form)
    return folder


def write_gemma(folder: Path, *, with_dense: bool, prefix: str = "") -> Path:
    """EmbeddingGemma's layout: bidirectional, local and full attention; with modules and prompts or bare."""
    folder.mkdir(parents=True, exist_ok=True)
    n_tokens = write_tokenizer(folder, kind="gemma", max_length=2048)
    d, head, inner, heads, groups = 64, 16, 80, 4, 1
    config = {
        "architectures": ["Gemma3TextModel"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": 2,
        "dtype": "bfloat16",
        "eos_token_id": 1,
        "final_logit_softcapping": None,
        "head_dim": head,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": d,
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": 2048,
        "model_type": "gemma3_text",
        "num_attention_heads": heads,
        "num_hidden_layers": 2,
        "num_key_value_heads": groups,
        "pad_token_id": 0,
        "query_pre_attn_scalar": head,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": 8,
        "use_bidirectional_attention": True,
        "use_cache": True,
        "vocab_size": n_tokens,
    }
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (n_tokens, d), "norm.weight": (d,)}
    for n in range(2):
        layer = f"layers.{n}."
        shapes |= {f"{layer}self_attn.q_proj.weight": (heads * head, d)}
        shapes |= {f"{layer}self_attn.{name}_proj.weight": (groups * head, d) for name in "kv"}
        shapes |= {f"{layer}self_attn.o_proj.weight": (d, heads * head)}
        shapes |= {f"{layer}self_attn.{name}_norm.weight": (head,) for name in "qk"}
        shapes |= {f"{layer}mlp.{name}_proj.weight": (inner, d) for name in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj.weight": (d, inner)}
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes |= {f"{layer}{norm}_layernorm.weight": (d,)}
    save(folder, config, {f"{prefix}{n}": v.bfloat16() for n, v in _random(shapes, 7).items()})
    if with_dense:
        _write_gemma_modules(folder, d)
    return folder


def _write_gemma_modules(folder: Path, d: int) -> None:
    """Mean pooling, two Dense layers without activation, normalisation, and the prompts of EmbeddingGemma."""
    names = ("", "1_Pooling"), ("2_Dense", "3_Dense"), ("4_Normalize",)
    kinds = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    paths = [name for group in names for name in group]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    prompts = {"query": "task: search result | query: ", "document": "title: none | text: "}
    own = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    (pooling / "config.json").write_text(
        json.dumps({"word_embedding_dimension": d, "pooling_mode_mean_tokens": True})
    )
    for path, (wide, narrow) in {"2_Dense": (256, d), "3_Dense": (d, 256)}.items():
        dense = {"in_features": narrow, "out_features": wide, "bias": False}
        identity = {"activation_function": "torch.nn.modules.linear.Identity"}
        save(folder / path, dense | identity, _random({"linear.weight": (wide, narrow)}, 8))
