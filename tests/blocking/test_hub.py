"""Where a model is found: folders, and the hub's cache as its library lays it out. No test asks the hub."""

from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from blocking.errors import ModelNotFoundError
from blocking.hub import fetch, read_configurations

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(hub: Path, repository: str, **files: str) -> Path:
    home = hub / f"models--{repository.replace('/', '--')}"
    folder = home / "snapshots" / COMMIT
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    return folder


def test_what_is_cached_is_found_by_name_and_revision(hub):
    files = {"config.json": '{"model_type": "bert"}', "model.safetensors": "…"}
    folder = put(hub, "owner/model", **files)
    assert (
        fetch("owner/model", None) == fetch("owner/model", "main") == fetch("owner/model", COMMIT) == folder
    )
    assert read_configurations("owner/model", None)["config.json"] == {"model_type": "bert"}
    own = put(hub, "sentence-transformers/small", **files)
    assert fetch("small", None) == own


def test_a_model_without_configuration_and_a_pickle_are_found_too(hub):
    bare = put(hub, "owner/bare", **{"model.safetensors": "…"})
    assert read_configurations("owner/bare", None) == {} and fetch("owner/bare", None) == bare
    old = put(hub, "owner/old", **{"pytorch_model.bin": "…"})
    assert fetch("owner/old", None) == old


def test_what_is_not_there_is_said_with_the_remedy(hub, tmp_path):
    put(hub, "owner/half", **{"config.json": "{}"})
    for name, revision in (("owner/none", None), ("owner/half", None), ("owner/half", "v2")):
        with pytest.raises(ModelNotFoundError, match=f"`hf download {name} --local-dir FOLDER`") as caught:
            fetch(name, revision)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="hf download owner/none"):
        read_configurations("owner/none", None)
    with pytest.raises(ModelNotFoundError, match="nor such a model on the hub"):
        fetch("no name at all!", None)
    with pytest.raises(ModelNotFoundError, match="there is no such folder"):
        fetch(str(tmp_path / "none"), None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelNotFoundError, match="it is a file"):
        fetch(str(tmp_path / "file"), None)
