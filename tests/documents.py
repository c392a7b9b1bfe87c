"""What the documents hold, for the tests of them: fenced blocks and tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "affiliations.csv"
CONTRACT, SETTINGS = ROOT / "docs" / "data-contract.md", ROOT / "docs" / "settings.md"
DOCUMENTS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]
#: What a document's block may need that a clone lacks.
NEEDS_DATA = re.compile(r"AFFIL_DATA|\.\./shared")


class Block(NamedTuple):
    """A fenced block of a document: its language, its text, the line it begins in, and why it is not run."""

    document: Path
    language: str
    text: str
    line: int
    reason: str | None

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """Fenced blocks in order; `<!-- not run: why -->` in the line above keeps one from being run."""
    text = document.read_text(encoding="utf-8")
    fence = re.compile(
        r"(?:^<!-- not run: ([^\n]+?) -->\n+)?^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL
    )
    return [
        Block(document, m[2], m[3], text[: m.start(3)].count("\n") + 1, m[1] or _lacks(m[3]))
        for m in fence.finditer(text)
    ]


def _lacks(text: str) -> str | None:
    return "needs the labelled data (AFFIL_DATA), which a clone lacks" if NEEDS_DATA.search(text) else None


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


def table(document: Path, section: str, first: str) -> dict[str, list[str]]:
    """The table of a section whose first column is called `first`: its name → the other cells."""
    parts = re.split(r"^## +(.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = dict(zip(parts[1::2], parts[2::2], strict=True))[section].splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found: dict[str, list[str]] = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        found[name.strip("`")] = cells
    return found
