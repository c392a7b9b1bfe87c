import numpy as np
import pytest

import pipeline
from blocking import load_encoder
from pipeline.model_list import BUILT_IN_ENCODER, encoder_source
from pipeline.resolution import Models
from pipeline.settings import Settings


def test_the_built_in_encoder_is_a_folder_and_other_names_are_themselves() -> None:
    assert encoder_source("hashing") == "hashing"
    assert encoder_source("owner/model@main") == "owner/model@main"
    assert load_encoder(encoder_source(BUILT_IN_ENCODER)).dimensions == 256


@pytest.mark.parametrize(
    ("values", "name", "dimensions"),
    [
        ({"encoder": "built-in"}, "built-in", 256),
        ({"encoder": "built-in", "truncate_dim": 64}, "built-in", 64),
        ({"encoder": "hashing"}, "hashing", 512),
    ],
)
def test_settings_name_the_encoder(values: dict[str, object], name: str, dimensions: int) -> None:
    encoder = Models.load(Settings().with_values(blocking=values)).encoder
    assert encoder is not None
    assert (encoder.name, encoder.dimensions) == (name, dimensions)


def test_the_built_in_encoder_knows_what_organisations_are_called() -> None:
    texts = ["technische universität münchen", "technical university of munich", "universität zürich"]
    a, b, c = load_encoder(encoder_source(BUILT_IN_ENCODER)).encode(texts)
    assert a @ b > a @ c
    # Learned, not spelled: the untrained encoder sees less of it.
    hashing = load_encoder("hashing")
    hashing.fit(texts)  # type: ignore[attr-defined]
    spelled = hashing.encode(texts)
    assert a @ b > spelled[0] @ spelled[1]


def test_a_run_uses_the_encoder_that_settings_name() -> None:
    strings = ["Univ. of Oxford, UK", "University of Oxford", "Oxford University, Dept. of Physics, UK"]
    built_in = pipeline.resolve(strings, Settings().with_values(blocking={"encoder": "built-in"}))
    hashing = pipeline.resolve(strings, Settings().with_values(blocking={"encoder": "hashing"}))
    assert len(built_in.pairs) == len(hashing.pairs) == 3
    half = pipeline.resolve(strings, built_in.settings, models=Models())
    assert np.allclose(half.pairs["similarity"], built_in.pairs["similarity"])
    assert not np.allclose(built_in.pairs["similarity"], hashing.pairs["similarity"])


def test_auto_is_hashing_for_few_mentions_and_the_trained_encoder_for_many(monkeypatch):
    strings = [f"Dept {i}, University of Oxford, Oxford, UK" for i in range(30)]
    few = pipeline.resolve(strings)
    assert few.settings.blocking.encoder == "auto"
    assert few.manifest["neighbours"]["encoder"] == "hashing"
    assert few.manifest["neighbours"]["neighbours"]["recall"] == 1
    monkeypatch.setattr("pipeline.model_list.AUTO_MENTIONS", 20)
    many = pipeline.resolve(strings)
    assert many.manifest["neighbours"]["encoder"] == load_encoder(encoder_source(BUILT_IN_ENCODER)).name
    named = pipeline.resolve(strings, Settings().with_values(blocking={"encoder": "hashing"}))
    assert named.manifest["neighbours"]["encoder"] == "hashing"
