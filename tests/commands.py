"""The command as tests call it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pipeline.cli import main


def affil(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refuses(result: Result, *parts: str) -> None:
    """One line that says what is wrong, and nothing else, and an exit code that tells of it."""
    assert result.exit_code == 2 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("affil: ")
    for part in parts:
        assert part in result.stderr
