"""The triplet loss of two recipes, and batches that hold one row of a group; needs PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler


class TripletMargin(torch.nn.Module):
    """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin), d being L2 or its square.

    Without a column of negatives each anchor gets the positive of the row before it, which the sampler has
    drawn from another group.
    """

    def __init__(self, model: Any, *, is_squared: bool, is_unit_length: bool, margin: float) -> None:
        super().__init__()
        self.model, self.margin = model, margin
        self.is_squared, self.is_unit_length = is_squared, is_unit_length

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Any = None) -> torch.Tensor:
        """Features of anchors, positives and perhaps negatives to the loss, a scalar."""
        vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
        if self.is_unit_length:
            vectors = [torch.nn.functional.normalize(v, dim=1) for v in vectors]
        anchor, positive = vectors[:2]
        negative = vectors[2] if len(vectors) > 2 else positive.roll(1, 0)
        near, far = self._distance(anchor, positive), self._distance(anchor, negative)
        return torch.relu(near - far + self.margin).mean()

    def _distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squared = (a - b).square().sum(1)
        # The root has no slope at nought, where two texts are equal.
        return squared if self.is_squared else (squared + 1e-12).sqrt()

    def get_config_dict(self) -> dict[str, Any]:
        """What the library writes into its own record of the training."""
        return {"margin": self.margin, "squared": self.is_squared, "unit_length": self.is_unit_length}


class OneOfAGroup(DefaultBatchSampler):  # type: ignore[misc]
    """Batches in which no two rows are of one group: other rows' positives are then true negatives.

    Each epoch deals the shuffled rows of a group out to rounds, one row a round, and cuts every round into
    batches. What is left of a round is a batch if it is half as large as the largest; else its rows, of the
    groups that have most, wait for an epoch in which they are shuffled forward.
    """

    def __init__(
        self, groups: Sequence[int], batch_size: int, generator: torch.Generator | None, seed: int
    ) -> None:
        super().__init__(range(len(groups)), batch_size=batch_size, drop_last=False)
        self.groups, self.generator, self.seed = list(groups), generator or torch.Generator(), seed
        sizes = Counter(Counter(self.groups).values())
        #: Rows of each round: the groups that have more rows than rounds went before.
        self.rounds = [sum(n for size, n in sizes.items() if size > r) for r in range(max(sizes, default=0))]
        self.least = max(2, (min(batch_size, len(set(self.groups))) + 1) // 2)

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """Where each batch begins and ends in the rows ordered by round."""
        start = 0
        for n in self.rounds:
            for at in range(0, n, self.batch_size):
                end = min(at + self.batch_size, n)
                if end - at >= self.least:
                    yield start + at, start + end
            start += n

    def __len__(self) -> int:
        return sum(1 for _ in self._cuts())

    def __iter__(self) -> Iterator[list[int]]:
        self.generator.manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self.groups), generator=self.generator).tolist()
        n_before: Counter[int] = Counter()
        by_round: list[tuple[int, int]] = []
        for row in shuffled:
            by_round.append((n_before[self.groups[row]], row))
            n_before[self.groups[row]] += 1
        by_round.sort(key=lambda entry: entry[0])
        cuts = list(self._cuts())
        for number in torch.randperm(len(cuts), generator=self.generator).tolist():
            yield [row for _, row in by_round[slice(*cuts[number])]]
