"""Prompts: a name, a text to put before every string, or a sentence with {} where the string goes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from blocking.errors import BlockingError

_PLACE = re.compile(r"\{(?:mention|text|)\}")


def resolve(prompt: str | None, named: Mapping[str, str], default: str | None) -> str:
    """A prompt as it was asked for, the model's own by name, and which is its default in; the text out."""
    if prompt is None:
        return named.get(default, "") if default is not None else ""
    return named.get(prompt, prompt)


def is_template(prompt: str) -> bool:
    """Whether a prompt has a place for the string."""
    return bool(_PLACE.search(prompt))


class Template:
    """A sentence around every string; of a text that is too long the string is cut, never the sentence."""

    def __init__(self, prompt: str, tokenizer: Any, max_length: int | None, *, needs_mask: bool) -> None:
        """Read a sentence.

        Args:
            prompt: the sentence, with one {} in it.
            tokenizer: of the model.
            max_length: tokens of the whole sentence, None without a bound.
            needs_mask: whether the model's vector is that of the mask token.

        Raises:
            BlockingError: the sentence has no place for the string, several, or not the one mask token.
        """
        parts = _PLACE.split(prompt)
        if len(parts) != 2:
            raise BlockingError(f"a prompt sentence needs {{}} once, where the string goes, got {prompt!r}")
        self._mask = str(tokenizer.mask_token or "")
        if needs_mask and prompt.count(self._mask) != 1:
            raise BlockingError(f"the prompt of this model needs {self._mask} once, got {prompt!r}")
        self._before, self._after = parts
        self._tokenizer = tokenizer
        self._needs_mask = needs_mask
        n_own = len(tokenizer(self._before + self._after)["input_ids"])
        # One token to spare: words that meet the string may be cut into others.
        self._budget = None if max_length is None else max_length - n_own - 1
        if self._budget is not None and self._budget < 1:
            raise BlockingError(f"the prompt takes all {max_length} tokens of the model: {prompt!r}")

    def fill(self, texts: Sequence[str]) -> list[str]:
        """Strings in; sentences that fit the model out."""
        return [f"{self._before}{self._cut(text)}{self._after}" for text in texts]

    def _cut(self, text: str) -> str:
        if self._needs_mask:
            # A mask token that stands in the data is not the one that is asked about.
            text = text.replace(self._mask, " ")
        # A character makes four tokens at the most (its bytes).
        if self._budget is None or len(text) * 4 <= self._budget:
            return text
        read = self._tokenizer(
            text,
            add_special_tokens=False,
            truncation=True,
            max_length=self._budget,
            return_offsets_mapping=True,
        )
        ends = [end for _, end in read["offset_mapping"]]
        return text[: max(ends, default=0)]
