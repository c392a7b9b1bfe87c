"""A fine-tune from labelled strings to a run: figures of docs/fine-tuning.md.

    python benchmarks/fine_tuning.py --data ../shared/data --output out/fine-tuning

No published model is fetched: the model to start from is a BERT of two layers with random weights, and a
vocabulary learned from the strings to learn from. A fifth of the organisations of fold `train` is set aside
(`dev`) and resolved before and after; the folds `tune` and `test` are not looked at.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pipeline
from blocking import BlockingSettings
from blocking.encoders import CorpusEncoder
from pipeline.evaluation import evaluate, read_gold
from pipeline.model_list import load_named_encoder
from pipeline.training.examples import write_examples
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.labels import is_held_out
from pipeline.training.recall import Lookout
from pipeline.training.recipe import Recipe
from pipeline.training.renderings import labelled_texts
from pipeline.writing import write_json

N_WORDS = 8000
DIMENSIONS, LAYERS, HEADS = 128, 2, 4
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_labels(data: Path, output: Path) -> tuple[Path, Path]:
    """Fold train of the labelled strings to two files: to learn from, and set aside."""
    with (data / "labelled" / "shared_clusters.tsv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["fold"] == "train"]
    paths = []
    for name, kept in (("labels.csv", False), ("dev.csv", True)):
        own = [(r["affiliation"], r["cluster"]) for r in rows if is_held_out(r["cluster"]) == kept]
        columns = {"affiliation": [a for a, _ in own], "cluster": [c for _, c in own]}
        paths.append(output / name)
        write_examples(columns, paths[-1])
    return paths[0], paths[1]


def write_start(texts: Sequence[str], folder: Path) -> None:
    """Texts to a BERT of random weights whose vocabulary is theirs."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(w for t in texts for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(t)))
    letters = sorted({letter for word in words for letter in word})
    # Not the library's own learner of vocabularies, which gives another one each time.
    common = sorted(words, key=lambda word: (-words[word], word))[:N_WORDS]
    pieces = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *common])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)),
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=DIMENSIONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIMENSIONS,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


def measure(name: str, dev: Path) -> dict[str, float]:
    """An encoder and the strings set aside to what it brings near by itself, and what a run makes of it."""
    gold = read_gold(dev, "affiliation", "cluster")
    texts = labelled_texts([(s, own[0]) for s, own in zip(gold.affiliation, gold.labels, strict=True)])
    lookout = Lookout.of(texts.context, texts.label)
    encoder = load_named_encoder(BlockingSettings(encoder=name))
    if isinstance(encoder, CorpusEncoder):
        encoder.fit(lookout.texts)
    settings = pipeline.Settings().with_values(blocking={"encoder": name})
    result = pipeline.resolve(gold.affiliation, settings)
    found = evaluate(result.mentions, gold, pairs=result.pairs)
    by_name = {m.name: m.value for m in found.measures}
    assert found.blocking is not None and found.blocking.pair_completeness is not None
    return {
        "recall@30": lookout.recall(encoder),
        "pair_completeness": found.blocking.pair_completeness,
        "pair_f1": by_name["pair_f1"],
        "b3_f1": by_name["b3_f1"],
    }


def main() -> None:
    """Fine-tune on one part of fold train, resolve the other before and after, print the table."""
    import torch

    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True, help="folder for files and models")
    options.add_argument("--recipe", default="examples/fine-tuning.toml")
    options.add_argument("--save", type=Path, help="JSON file for the figures")
    given = options.parse_args()
    torch.set_num_threads(1)
    labels, dev = write_labels(given.data, given.output)
    start, tuned = given.output / "start", given.output / "tuned"
    learned = read_gold(labels, "affiliation", "cluster")
    write_start(learned.affiliation, start)
    begin = time.perf_counter()
    found = fine_tune(Recipe.read(given.recipe), str(start), labels, tuned, device="cpu", say=print)
    seconds = time.perf_counter() - begin
    # Not the built-in encoder: it was trained on the strings that are set aside here.
    names = {"before": str(start), "after": str(tuned), "hashing": "hashing"}
    figures = {label: measure(name, dev) for label, name in names.items()}
    n_dev = len(read_gold(dev, "affiliation", "cluster"))
    print(
        f"{len(learned):,} strings to learn from, {n_dev:,} set aside; trained in {seconds:.0f} s, 1 thread"
    )
    print(f"{'encoder':10} recall@30  pair completeness  pairwise F1  B³ F1")
    for label, own in figures.items():
        print(f"{label:10} {'  '.join(f'{value:9.4f}' for value in own.values())}")
    assert found.before is not None and found.after is not None
    print(f"nearer than a hard negative: {found.before.nearer:.4f} before, {found.after.nearer:.4f} after")
    if given.save:
        plain = {"figures": figures, "seconds": round(seconds), "n_learned": len(learned), "n_dev": n_dev}
        nearer = {"nearer_before": found.before.nearer, "nearer_after": found.after.nearer}
        write_json(json.loads(json.dumps(plain | nearer)), given.save)


if __name__ == "__main__":
    main()
