import pytest

from blocking import BlockingError
from pipeline.errors import UsageError
from pipeline.settings import Settings


def test_a_file_sets_what_it_names(tmp_path) -> None:
    file = tmp_path / "affil.toml"
    file.write_text(
        "[blocking]\nn_neighbours = 12\n[clustering]\nmin_match_probability = 1\n"
        "[scoring]\nrescoring_band = [0.2, 0.8]\n"
    )
    settings = Settings.read(file)
    assert settings.blocking.n_neighbours == 12
    assert settings.clustering.min_match_probability == 1.0
    assert settings.scoring.rescoring_band == (0.2, 0.8)
    assert settings.parsing == Settings().parsing


def test_settings_survive_a_round_trip() -> None:
    settings = Settings().with_values(blocking={"n_neighbours": 7}, scoring={"reranker": "x"})
    assert Settings.from_dict(settings.to_dict()) == settings
    assert settings.fingerprint() == Settings.from_dict(settings.to_dict()).fingerprint()
    assert settings.fingerprint() != Settings().fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[bloking]\n", "did you mean 'blocking'"),
        ("[blocking]\nneighbours = 3\n", "did you mean 'n_neighbours'"),
        ("blocking = 3\n", "must be a table"),
        ("[blocking]\nn_neighbours = 'many'\n", "must be int, got 'many'"),
        ("[blocking]\nn_neighbours = true\n", "must be int"),
        ("[parsing]\nsplit_organizations = 1\n", "must be bool"),
        ("[blocking\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "affil.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        Settings.read(file)


def test_a_table_changes_nothing_that_it_does_not_name() -> None:
    settings = Settings.from_dict({"blocking": {"n_neighbours": 7}})
    assert settings == Settings().with_values(blocking={"n_neighbours": 7})
    assert settings.blocking.encoder == Settings().blocking.encoder


def test_values_are_checked_by_their_stage() -> None:
    with pytest.raises(BlockingError, match="n_neighbours"):
        Settings.from_dict({"blocking": {"n_neighbours": 0}})


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="no such settings file"):
        Settings.read(tmp_path / "none.toml")
