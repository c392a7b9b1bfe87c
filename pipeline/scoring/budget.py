"""What a reranker may cost: pairs, a share of all, or seconds, spent on the most doubtful pairs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import Float64s, Int64s

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(pairs|%|s|min|h)?")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
#: Pairs that are rescored before it is known how many a second are.
_FIRST_PART = 256


@dataclass(frozen=True)
class Budget:
    """At most one of these is set; none is no bound.

    Attributes:
        n_pairs: pairs that may be rescored.
        share: of the candidate pairs, 0 to 1.
        seconds: after which no more are begun.
    """

    n_pairs: int | None = None
    share: float | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> Budget:
        """`20000 pairs` (or `20000`), `5%`, `90s`, `10min` or `2h` to the budget; None sets no bound.

        Raises:
            UsageError: it is none of these.
        """
        if text is None:
            return cls()
        found = _AMOUNT.fullmatch(text.strip())
        amount, unit = (float(found[1]), found[2]) if found else (0.0, "")
        if found and unit in _SECONDS:
            return cls(seconds=amount * _SECONDS[unit])
        if found and unit == "%" and amount <= 100:
            return cls(share=amount / 100)
        if found and unit in (None, "pairs") and amount.is_integer():
            return cls(n_pairs=int(amount))
        raise UsageError(
            f"scoring.rescoring_budget must be pairs ('20000 pairs'), a share ('5%') or time ('90s', '10min',"
            f" '2h'), got {text!r}"
        )

    def cut(self, chosen: Int64s, probability: Float64s, n_candidates: int) -> Int64s:
        """Numbers of the pairs that may be rescored, ascending; by doubt where time is what bounds them.

        Args:
            chosen: pairs that are worth it, ascending.
            probability: of all pairs.
            n_candidates: how many pairs a share is of.
        """
        order = chosen[np.argsort(np.abs(probability[chosen] - 0.5), kind="stable")]
        if self.seconds is not None:
            return order
        n_pairs = self.n_pairs if self.share is None else int(self.share * n_candidates)
        return chosen if n_pairs is None else np.sort(order[:n_pairs])

    def spend(self, chosen: Int64s, work: Callable[[Int64s], Float64s]) -> Iterator[tuple[Int64s, Float64s]]:
        """Parts of the chosen pairs with what `work` makes of each, until the seconds are over."""
        if self.seconds is None:
            if len(chosen):
                yield chosen, work(chosen)
            return
        begin, n_done, size = time.monotonic(), 0, _FIRST_PART
        while n_done < len(chosen) and time.monotonic() - begin < self.seconds:
            part = chosen[n_done : n_done + size]
            yield part, work(part)
            n_done += len(part)
            taken = time.monotonic() - begin
            # Half of what would fit: the speed is an estimate, and a part that is begun is finished.
            fits = n_done / max(taken, 1e-3) * (self.seconds - taken) / 2
            size = max(_FIRST_PART, int(fits))
