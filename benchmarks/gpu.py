"""How much of a GPU the models and the neighbour search use, and how long the whole path takes.

    python benchmarks/gpu.py [--save FILE] [--data ../shared/data] [--only encoder --only knn …]
    python benchmarks/gpu.py --small        # the same with tiny models on any machine: checks, no figures

Models of the full shapes with random weights (what they say is noise, what they cost is not) on texts as long
as affiliations are. "Share of ceiling" is model FLOP/s, padding not counted, over what a large bfloat16
product of matrices reaches in the same run. PyTorch and Transformers are enough; what needs more is skipped
and named. There are no saved figures of a GPU yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

#: Tokens of a text with both its marks, by the share of texts that have no more: the train fold of the
#: labelled strings in the WordPiece vocabulary of all-MiniLM-L6-v2 (18.2 on average, 4.8 characters each).
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)
TOKENS = (3, 8, 11, 13, 15, 17, 19, 21, 24, 29, 47, 197)
GOALS = {"encoder": 0.4, "reranker": 0.4, "knn": 0.6}
N_NEIGHBOURS = 20
#: Rows whose neighbours are held against brute force.
N_CHECKED = 100


class SkipError(Exception):
    """What this machine lacks for a measurement."""


@dataclass(frozen=True)
class Shape:
    """A transformer's dimensions. `is_gated`: three matrices in the feed-forward part instead of two."""

    kind: str
    hidden: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate: int = 3072
    n_tokens: int = 250_048
    is_gated: bool = False

    def flops(self, lengths: np.ndarray) -> float:
        """FLOPs of texts of these lengths in tokens: matrix products alone, a multiply-add as two."""
        n = lengths.astype(np.float64)
        projections = 4 * self.hidden**2 + (3 if self.is_gated else 2) * self.hidden * self.intermediate
        layers = self.n_layers * (2 * n * projections + 4 * n**2 * self.hidden)
        head = 2 * self.hidden**2 + 2 * self.hidden if self.kind == "reranker" else 0
        return float(layers.sum() + head * len(n))

    def tiny(self) -> Shape:
        """The same architecture in small."""
        return replace(self, hidden=32, n_layers=2, n_heads=2, intermediate=48, n_tokens=2_000)


#: gte-multilingual-base, and the XLM-R base of jina-reranker-v2.
ENCODER, RERANKER = Shape("encoder", is_gated=True), Shape("reranker")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    n_texts: int = 50_000
    n_pairs: int = 20_000
    batch_sizes: tuple[int, ...] = (64, 512, 2048)
    n_rows: int = 1_000_000
    dimensions: int = 768
    matrix: int = 8192
    n_strings: int = 1_000_000


SMALL = Size(200, 60, (8, 32), 3_000, 32, 256, 300)


# ------------------------------------------------------------------------------------------- what is measured


def words() -> list[str]:
    """Different words of two letters, each beside one of six."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [word for a in letters for b in letters for word in (f"{a}{b}", f"{a}{b}{b}{a}{a}{b}")]


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts whose tokens, one a word, are as many as those of affiliations.

    Some have long words, others short ones: characters, by which texts are put in order before they are
    tokenised, tell the tokens only roughly (correlation .94; .88 in the labelled strings).
    """
    rng = np.random.default_rng(seed)
    lengths = np.interp(rng.random(n), SHARES, TOKENS).round().astype(int) - 2
    vocabulary = np.array(words()).reshape(-1, 2)
    found = []
    for length, share in zip(lengths, rng.random(n), strict=True):
        rows = rng.integers(0, len(vocabulary), length)
        found.append(" ".join(vocabulary[rows, (rng.random(length) < share).astype(int)]))
    return found


def write_model(shape: Shape, folder: Path) -> Path:
    """A model of random weights with a tokenizer of one token a word, as its library saves it."""
    import torch
    import transformers

    name = {"encoder": "GteModel", "reranker": "XLMRobertaForSequenceClassification"}[shape.kind]
    if not hasattr(transformers, name):
        raise SkipError(f"transformers {transformers.__version__} has no {name}; 5.18 and later have")
    common = {
        "vocab_size": shape.n_tokens,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "intermediate_size": shape.intermediate,
        "pad_token_id": 1,
        "type_vocab_size": 1,
    }
    if shape.kind == "encoder":
        config = transformers.GteConfig(**common)
    else:
        config = transformers.XLMRobertaConfig(**common, max_position_embeddings=1026, num_labels=1)
    torch.manual_seed(0)
    getattr(transformers, name)(config).eval().save_pretrained(folder)
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    vocabulary = {token: number for number, token in enumerate([*special, *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True)),
    ).save_pretrained(folder)


# ----------------------------------------------------------------------------------------------- measurements


@dataclass
class Meter:
    """Counts what passes through a model: the places of its batches, and the real tokens of each text."""

    n_places: int
    lengths: list[np.ndarray]

    @classmethod
    def on(cls, model: Any) -> Meter:
        """A meter on the forward passes of a Transformers model, which are given an attention mask."""
        meter, forward = cls(0, []), model.forward

        def read(*inputs: Any, **given: Any) -> Any:
            meter.read(given["attention_mask"])
            return forward(*inputs, **given)

        # No hook: Sentence Transformers calls `forward` itself.
        model.forward = read
        return meter

    def read(self, mask: Any) -> None:
        """The attention mask of a batch, shape (texts, tokens)."""
        self.n_places += mask.numel()
        # Read at the end: a copy here would make the GPU wait.
        self.lengths.append(mask.sum(1))

    def take(self) -> tuple[np.ndarray, float]:
        """Lengths of all texts so far in tokens, and the share of padding; counting begins anew."""
        lengths = np.concatenate([found.cpu().numpy() for found in self.lengths])
        padding = 1 - lengths.sum() / self.n_places
        self.n_places, self.lengths = 0, []
        return lengths, float(padding)


def seconds(work: Callable[[], Any], device: str, n_times: int = 1) -> float:
    """Seconds that each of `n_times` calls takes, the GPU's own work included."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(n_times):
        work()
    wait()
    return (time.perf_counter() - begin) / n_times


def ceiling(device: str, n: int) -> float:
    """FLOP/s of the product of two n x n bfloat16 matrices, the best of five rounds."""
    import torch

    one, other = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds(lambda: one @ other, device, 3)
    return 2 * n**3 / min(seconds(lambda: one @ other, device, 10) for _ in range(5))


def bare_batches(tokenizer: Any, given: Sequence[Any], batch_size: int, device: str) -> list[dict[str, Any]]:
    """Texts or pairs of texts as batches on the device, in the order of their lengths."""
    encoded = sorted(tokenizer(list(given))["input_ids"], key=len, reverse=True)
    batches = (encoded[start : start + batch_size] for start in range(0, len(encoded), batch_size))
    padded = (tokenizer.pad({"input_ids": batch}, return_tensors="pt") for batch in batches)
    return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in padded]


def measure_model(shape: Shape, size: Size, device: str, limit: float) -> Iterator[dict[str, Any]]:
    """One row for the forward passes alone and one for the project's own path, for each size of batches."""
    if shape.kind == "encoder":
        given: list[Any] = texts(size.n_texts)
    else:
        left, right = texts(size.n_pairs), texts(size.n_pairs, seed=1)
        given = list(zip(left, right, strict=True))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model(shape, Path(scratch))
        for path, run in (("forward passes alone", _bare), ("the project's path", _own)):
            for batch_size in size.batch_sizes:
                try:
                    work, meter, n_passes = run(shape, folder, given, batch_size, device)
                except (ImportError, SkipError) as error:
                    yield {"what": f"{shape.kind}, {path}", "skipped": _lack(error)}
                    break
                work(given[: 4 * batch_size])
                meter.take()
                taken = seconds(lambda work=work: work(given), device)
                lengths, padding = meter.take()
                rate = shape.flops(lengths) / taken
                yield {
                    "what": f"{shape.kind}, {path}",
                    "batch_size": batch_size,
                    "per_second": len(given) / taken,
                    "unit": "strings/s" if shape.kind == "encoder" else f"pairs/s ({n_passes} passes each)",
                    "padding_share": padding,
                    "tflops": rate / 1e12,
                    "share_of_ceiling": rate / limit,
                }


def _bare(shape: Shape, folder: Path, given: Sequence[Any], batch_size: int, device: str) -> Any:
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    from blocking.precision import hold

    kind = AutoModel if shape.kind == "encoder" else AutoModelForSequenceClassification
    model, tokenizer = (
        hold(kind.from_pretrained(folder).eval(), device),
        AutoTokenizer.from_pretrained(folder),
    )
    whole = bare_batches(tokenizer, given, batch_size, device)

    def work(asked: Sequence[Any]) -> None:
        batches = whole if asked is given else bare_batches(tokenizer, asked, batch_size, device)
        with torch.inference_mode():
            for batch in batches:
                model(**batch)

    return work, Meter.on(model), 1


def _own(shape: Shape, folder: Path, given: Sequence[Any], batch_size: int, device: str) -> Any:
    """Through the encoder or the rescorer that a run uses, tokenizing and sorting by length included."""
    if shape.kind == "encoder":
        import sentence_transformers  # noqa: F401  (its absence is named before the model is loaded)

        from blocking.sentence import SentenceSettings, SentenceTransformerEncoder

        settings = SentenceSettings(batch_size=batch_size, device=device, pooling="cls")
        encoder = SentenceTransformerEncoder(str(folder), settings)
        return encoder.encode, Meter.on(encoder._model[0].auto_model), 1
    from pipeline.scoring import CrossEncoderScorer

    scorer = CrossEncoderScorer(str(folder), device, batch_size)
    return lambda pairs: scorer.logits(*zip(*pairs, strict=True)), Meter.on(scorer._model[0].auto_model), 2


def measure_knn(size: Size, device: str, limit: float) -> Iterator[dict[str, Any]]:
    """The exact search of `blocking.torch_search`, beside the product of matrices that it is made of."""
    import torch

    from blocking.torch_search import search_torch

    n, d = size.n_rows, size.dimensions
    vectors = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    few = vectors[: n // 100 + N_NEIGHBOURS + 1]
    search_torch(few, few, N_NEIGHBOURS + 1, device)
    begin = time.perf_counter()
    found, _ = search_torch(vectors, vectors, N_NEIGHBOURS + 1, device)
    taken = time.perf_counter() - begin
    yield {
        "what": f"kNN {n:,} x {d}, k = {N_NEIGHBOURS}",
        "per_second": n / taken,
        "unit": "rows/s",
        "tflops": 2 * n * n * d / taken / 1e12,
        "share_of_ceiling": 2 * n * n * d / taken / limit,
        "recall": knn_recall(vectors, found),
    }
    for name in ("float32", "float16"):
        rows = torch.from_numpy(vectors).to(device, getattr(torch, name))
        chunk = rows[: max(1, min(n, 2**29 // n))]
        seconds(lambda: chunk @ rows.T, device)  # noqa: B023  (called in this round alone)
        taken = min(seconds(lambda: chunk @ rows.T, device, 3) for _ in range(3))  # noqa: B023
        rate = 2 * len(chunk) * n * d / taken
        yield {
            "what": f"its product of matrices alone, {name}",
            "per_second": len(chunk) / taken,
            "unit": "rows/s",
            "tflops": rate / 1e12,
            "share_of_ceiling": rate / limit,
        }


def knn_recall(vectors: np.ndarray, found: np.ndarray) -> float:
    """Share of the true nearest rows among those found, over some rows, by brute force in float64."""
    rows = np.random.default_rng(1).choice(len(vectors), min(N_CHECKED, len(vectors)), replace=False)
    cosines = vectors[rows].astype(np.float64) @ vectors.T.astype(np.float64)
    true = np.argpartition(-cosines, found.shape[1] - 1, axis=1)[:, : found.shape[1]]
    hits = [len(np.intersect1d(a, b)) for a, b in zip(true, found[rows], strict=True)]
    return float(np.sum(hits) / true.size)


def measure_path(size: Size, data: Path | None) -> Iterator[dict[str, Any]]:
    """Seconds of every stage of a run on synthetic strings, and its quality against their gold."""
    import pandas as pd
    import synthetic

    import pipeline

    registry = None if data is None else data / "registry" / "ror_records_partial.jsonl.gz"
    if registry is None or not registry.is_file():
        raise SkipError("no registry to make strings from; name its folder with --data")
    rows = list(synthetic.strings(synthetic.read_institutions(registry), size.n_strings))
    with tempfile.TemporaryDirectory() as scratch:
        gold_file = Path(scratch) / "gold.parquet"
        synthetic.write(iter(rows), gold_file)
        gold = pipeline.read_gold(gold_file, "affiliation", "cluster")
        strings = pd.read_parquet(gold_file)["affiliation"]
    begin = time.perf_counter()
    result = pipeline.resolve(strings)
    taken = time.perf_counter() - begin
    found = pipeline.evaluate(result.mentions, gold, n_bootstrap=0)
    yield {
        "what": f"whole path, {len(rows):,} synthetic strings",
        "per_second": len(rows) / taken,
        "unit": "strings/s",
        "seconds": taken,
        "stages": {stage["name"]: stage["seconds"] for stage in result.stage_log.stages},
        "b3_f1": found.value("b3_f1"),
    }


def _lack(error: Exception) -> str:
    return (
        f"this machine has no {error.name}" if isinstance(error, ImportError) and error.name else str(error)
    )


# ----------------------------------------------------------------------------------------------------- report


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    if "skipped" in row:
        return f"{row['what']:44} skipped: {row['skipped']}"
    more = f"{row['padding_share']:8.1%}" if "padding_share" in row else " " * 8
    use = f"{row['tflops']:10.2f} {row['share_of_ceiling']:9.1%}" if "tflops" in row else " " * 20
    last = f"   recall {row['recall']:.4f}" if "recall" in row else ""
    if "stages" in row:
        slowest = sorted(row["stages"].items(), key=lambda stage: -stage[1])[:4]
        last = f"{row['seconds']:.1f} s, B³ F1 {row['b3_f1']:.3f}; " + ", ".join(
            f"{name} {taken:.1f} s" for name, taken in slowest
        )
    batch = row.get("batch_size", "")
    return f"{row['what']:44} {batch:>6} {row['per_second']:12,.0f} {row['unit']:24} {more} {use}{last}"


def goals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each goal the best share of the ceiling that the project's own path reached, None where skipped."""
    own = {"encoder": "encoder, the", "reranker": "reranker, the", "knn": "kNN"}
    found = {}
    for name, goal in GOALS.items():
        shares = [
            r["share_of_ceiling"] for r in rows if r["what"].startswith(own[name]) and "skipped" not in r
        ]
        best = max(shares, default=None)
        found[name] = {"goal": goal, "best": best, "is_met": best is not None and best >= goal}
    return found


def measure(
    size: Size, only: Sequence[str], device: str, data: Path | None, is_small: bool
) -> dict[str, Any]:
    """Everything that is asked for, each row printed as it comes."""
    import torch
    import transformers

    is_gpu = device == "cuda"
    limit = ceiling(device, size.matrix)
    name = torch.cuda.get_device_name() if is_gpu else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"ceiling: {limit / 1e12:.2f} TFLOP/s (bfloat16, {size.matrix:,} x {size.matrix:,})")
    head = f"{'':44} {'batch':>6} {'':12} {'':24} {'padding':>8} {'TFLOP/s':>10} {'of ceiling':>10}"
    print(head)
    encoder, reranker = (shape.tiny() if is_small else shape for shape in (ENCODER, RERANKER))
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "encoder": lambda: measure_model(encoder, size, device, limit),
        "reranker": lambda: measure_model(reranker, size, device, limit),
        "knn": lambda: measure_knn(size, device, limit),
        "path": lambda: measure_path(size, data),
    }
    rows = []
    for part in only or parts:
        try:
            for row in parts[part]():
                rows.append(row)
                print(line(row), flush=True)
        except (ImportError, SkipError) as error:
            rows.append({"what": part, "skipped": _lack(error)})
            print(line(rows[-1]), flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    found = {"device": name, "versions": versions, "size": asdict(size), "ceiling_tflops": limit / 1e12}
    return found | {
        "is_small": is_small,
        "rows": rows,
        "goals": goals(rows) if is_gpu and not is_small else None,
    }


def main() -> None:
    """Measure and print a table; keep it as JSON where asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--small", action="store_true")
    options.add_argument("--only", action="append", choices=("encoder", "reranker", "knn", "path"))
    options.add_argument("--data", type=Path)
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.small:
        sys.exit("gpu.py: PyTorch sees no GPU, so there are no GPU figures; --small runs the checks on a CPU")
    found = measure(SMALL if given.small else Size(), given.only or (), device, given.data, given.small)
    for name, goal in (found["goals"] or {}).items():
        best = "skipped" if goal["best"] is None else f"{goal['best']:.1%}"
        print(f"goal {name}: {goal['goal']:.0%} of the ceiling, best {best}")
    if found["goals"] is None:
        print("Tiny sizes or no GPU: the figures say that the code runs, nothing of a GPU's speed.")
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
