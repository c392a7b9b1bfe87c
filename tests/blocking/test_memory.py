"""A memory limit: what it may say, and that it sizes pieces of work and nothing else."""

import pytest

from blocking.errors import BlockingError
from blocking.memory import VARIABLE, at_once, database_limit, memory_limit, parse_size


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GB", 4 * 10**9), ("800 mb", 8 * 10**8), ("1.5GB", 15 * 10**8), ("2GiB", 2**31), ("1TB", 10**12)],
)
def test_sizes(text: str, n_bytes: int) -> None:
    assert parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["4", "GB", "4 gigs", "-1GB", "4GB!", "", "499MB", "0GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BlockingError, match="a memory limit"):
        parse_size(text)


def test_nothing_said_limits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert memory_limit() is None
    assert at_once(200_000, 600) == 200_000 and database_limit(2_000_000_000) == "2000MB"


def test_pieces_shrink_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for limit in ("64GB", "4GB", "1GB", "500MB"):
        monkeypatch.setenv(VARIABLE, limit)
        sizes.append(at_once(200_000, 10_000))
        n_bytes = memory_limit()
        assert n_bytes is not None
        assert sizes[-1] * 10_000 <= n_bytes / 8 and at_once(10, 10**12) == 1
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    assert database_limit(2_000_000_000) == "125MB"
