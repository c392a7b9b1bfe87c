"""The tagger works on many texts in columns; here the same is done token by token, to be held to it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.known_names import KnownNames
from pipeline.parsing.features import SEGMENTS, name_features, segment_features, tokens_of, word_features
from pipeline.parsing.marking import NAMES, concept_hashes
from pipeline.parsing.reading import Reading, read
from pipeline.parsing.tagger import DILATIONS, FIRST, INSIDE, TAGS, Tagger, best_tags

PIECES = [
    *("CNRS", "Inserm", "University of Porto", "Université de Lille", "Dept. of Law", "ETH Zürich", "LMU"),
    *(
        ",",
        ";",
        ":",
        "(",
        ")",
        "-",
        "/",
        " ",
        "\t",
        "\n",
        "Lyon",
        "France",
        "清华大学",
        "Faculty of Medicine",
    ),
    *("Harvard Medical School", "CSIR-Institute of Genomics", "MIT", "Inc", "75013", "²", "\u3000", "é"),
]
TEXTS = st.lists(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=12).map(" ".join), max_size=5
)


def readings_of(texts: list[str]) -> list[Reading]:
    return [reading for text in texts if (reading := read(text)) is not None]


@settings(deadline=None)
@given(TEXTS)
def test_segments_are_those_of_the_first_piece_that_has_the_token(texts: list[str]) -> None:
    readings = readings_of(texts)
    tokens = tokens_of(readings)
    expected = []
    for n, reading in enumerate(readings):
        pieces = sorted(reading.pieces, key=lambda p: p.start)
        for start, end in tokens.spans(n):
            # A piece has what no piece before it has, where they overlap.
            own = next((p for p in pieces if p.end > start), None)
            if own is None or own.start > start:
                expected.append(())
                continue
            is_chosen = any(own.segment is s for s in reading.chosen)
            n_chosen = min(len(reading.chosen), 4)
            expected.append((own.kind, is_chosen, n_chosen, start == own.start, end == own.end))
    assert [SEGMENTS[n] for n in tokens.segment] == expected


@settings(deadline=None)
@given(TEXTS)
def test_names_are_the_longest_runs_that_the_table_holds(texts: list[str]) -> None:
    readings = readings_of(texts)
    tokens = tokens_of(readings)
    for n, reading in enumerate(readings):
        own = slice(tokens.first[n], tokens.first[n + 1])
        words = [tokens.words[w] for w in tokens.word[own]]
        said = [NAMES[x] for x in tokens.name[own]]
        assert said == marked(words, reading.location.country_code)


def marked(words: list[str], country: str | None) -> list[tuple[object, ...]]:
    """What the table says of the words of one text, run by run."""
    table = KnownNames.load()
    rows = {key: row for row, key in enumerate(table.bag.key.tolist())}
    hashes = [(n, own) for n, word in enumerate(words) for own in concept_hashes(word)]
    said: list[tuple[object, ...]] = [()] * len(words)

    def about(records: tuple[int, ...]) -> tuple[int, str]:
        countries = [table.places[table.place[r]][0] for r in records]
        where = "unknown" if country is None else "here" if country in countries else "elsewhere"
        return min(len(records), 3), where

    for n, word in enumerate(words):
        own = [h for at, h in hashes if at == n]
        if len(own) == 1 and own[0] in table.single.row_of:
            said[n] = ("one", word.isupper(), *about(table.single.records(table.single.row_of[own[0]])))
    taken: set[int] = set()
    for size in range(min(10, len(hashes)), 1, -1):
        for at in range(len(hashes) - size + 1):
            row = rows.get(sum(h for _, h in hashes[at : at + size]) % 2**64)
            if row is None or not taken.isdisjoint(range(at, at + size)):
                continue
            taken.update(range(at, at + size))
            first, last = hashes[at][0], hashes[at + size - 1][0]
            crosses = not set(",;:|()[]").isdisjoint(words[first + 1 : last])
            for n in range(first, last + 1):
                said[n] = (
                    "run",
                    min(size, 5),
                    crosses,
                    *about(table.bag.records(row)),
                    n == first,
                    n == last,
                )
    return said


@settings(deadline=None, max_examples=40)
@given(TEXTS)
def test_organisations_are_those_that_each_text_has_alone_token_by_token(texts: list[str]) -> None:
    tagger, readings = Tagger.load(), readings_of(texts)
    tokens = tokens_of(readings)
    found = tagger.spans(tokens)
    for n, spans in enumerate(found):
        own = slice(tokens.first[n], tokens.first[n + 1])
        numbers = zip(tokens.word[own], tokens.segment[own], tokens.name[own], strict=True)
        vectors = [
            sum_of(tagger, word_features(tokens.words[w], tagger.n_buckets))
            + sum_of(tagger, segment_features(int(s), tagger.n_buckets))
            + sum_of(tagger, name_features(int(k), tagger.n_buckets))
            for w, s, k in numbers
        ]
        assert spans == decoded(tagger, np.array(vectors), tokens.spans(n))


def sum_of(tagger: Tagger, features: tuple[int, ...]) -> np.ndarray:
    table = tagger.arrays["table"].astype(np.float32) * tagger.arrays["scale"][:, None]
    return np.asarray(table[list(features)].sum(axis=0), np.float32)


def decoded(tagger: Tagger, vectors: np.ndarray, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Vectors of one text's tokens to its organisations, each token's neighbours gathered one by one."""
    if not spans:
        return []
    state = vectors
    for layer, dilation in enumerate((1, *DILATIONS)):
        weight, bias = tagger.arrays[f"weight_{layer}"], tagger.arrays[f"bias_{layer}"]
        reach = len(weight) // 2
        made = np.zeros((len(state), weight.shape[2]), np.float32)
        for at in range(len(state)):
            for k in range(len(weight)):
                if 0 <= (other := at + (k - reach) * dilation) < len(state):
                    made[at] += state[other] @ weight[k]
        made = np.maximum(made + bias, 0)
        state = made if layer == 0 else state + made
    logits = state @ tagger.arrays["weight_out"] + tagger.arrays["bias_out"]
    tags = best_tags(logits[None], np.array([len(logits)]), tagger._between, tagger._start)[0].tolist()
    found: list[tuple[int, int]] = []
    for tag, (start, end) in zip(tags, spans, strict=True):
        if tag == FIRST:
            found.append((start, end))
        elif tag == INSIDE and found:
            found[-1] = (found[-1][0], end)
    return found


def test_texts_of_many_lengths_at_once_are_what_each_is_alone() -> None:
    texts = ["CNRS, " * n + "University of Porto, Portugal" for n in (0, 1, 3, 40, 900, 2, 7)]
    readings, tagger = readings_of(texts), Tagger.load()
    found = tagger.spans(tokens_of(readings))
    assert [tagger.spans(tokens_of([r]))[0] for r in readings] == found
    assert all(spans and all(a[1] <= b[0] for a, b in pairwise(spans)) for spans in found)
    assert len(TAGS) == tagger.arrays["bias_out"].shape[0]
    assert tagger.spans(tokens_of([])) == []
