"""What people read, in blocks: every page, and every block of code in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    language: str
    text: str
    number: int

    @property
    def id(self) -> str:
        return f"{self.page}-{self.language}-{self.number}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and the site."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """Of one language, in all pages."""
    return [block for page in pages() for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    name = str(page.relative_to(ROOT))
    for number, found in enumerate(_BLOCK.finditer(page.read_text("utf-8")), 1):
        indent = len(found[1])
        text = "".join(f"{line[indent:]}\n" for line in found[3].splitlines())
        yield Block(name, found[2], text, number)
