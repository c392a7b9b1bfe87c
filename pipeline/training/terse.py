"""Terse copies of labelled strings: the organisation alone, or with a unit or a city, as in some sources."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.preparation import prepare
from pipeline.records import MAIN, Mention

#: Share of the strings that are made terse, and of these the share that keeps a unit, and a city. Set by
#: hand: the rest stays whole, so that terse strings meet whole ones.
_TERSE, _WITH_UNIT, _WITH_CITY = 0.6, 0.3, 0.3


def terse_copies(rows: Sequence[tuple[str, str]], seed: int = 0) -> list[tuple[str, str]]:
    """(string, label) rows to rows of which most name their organisation and little else, each text once.

    A text that strings of several labels come to is of the label that most of them have. Strings without an
    organisation stay as they are.
    """
    mentions, _ = prepare([string for string, _ in rows])
    raw = mentions.affiliations.affiliation
    numbered = zip(mentions.affiliation.tolist(), mentions.mention, strict=True)
    main = {raw[i]: mention for i, mention in numbered if mention.role == MAIN and mention.organization}
    drawn = np.random.default_rng(seed).random((len(rows), 3))
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for (string, label), (terse, unit, city) in zip(rows, drawn.tolist(), strict=True):
        own = main.get(string) if terse < _TERSE else None
        labels[_stated(own, unit < _WITH_UNIT, city < _WITH_CITY) if own else string][label] += 1
    return [(text, votes.most_common(1)[0][0]) for text, votes in labels.items()]


def _stated(mention: Mention, has_unit: bool, has_city: bool) -> str:
    units = mention.units[:1] if has_unit else ()
    city = (mention.city,) if has_city and mention.city else ()
    return ", ".join((*units, mention.organization, *city))
