"""docs/benchmarks.md: what was measured stands between markers, and only that is written anew."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.row import Row

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
HEAD = ("", "measured", "beside", "ratio", "target", "verdict", "")


def write(block: str, text: str) -> None:
    """Put the text between the block's markers."""
    page = PAGE.read_text("utf-8")
    marked = re.compile(rf"(<!-- measured: {block} -->\n).*?(<!-- end -->)", re.DOTALL)
    written, count = marked.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)
    if count != 1:
        raise RuntimeError(f"{PAGE.name} has {count} blocks named {block}: one is wanted")
    PAGE.write_text(written, "utf-8")


def table(rows: Iterable[Row]) -> str:
    """Without the columns in which nothing stands."""
    cells = [row.cells for row in rows]
    kept = [n for n in range(len(HEAD)) if any(one[n] for one in cells)]
    return lines([HEAD[n] for n in kept], [[one[n] for n in kept] for one in cells])


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; all but its first column to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
