"""A flame graph: each bar is a function, as wide as the time in which it was on the stack, its callers below it."""

import linecache
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path

WIDTH, HEIGHT, LETTER = 1200, 17, 6.6  # pixels: of the picture, a bar, a letter
LEAST = 0.4  # pixels of a bar that is still drawn
OURS, OTHERS = "#f2a65a", "#d8d3c8"  # fedk's own code, and what it calls

WAITING = ("EpollSelector.select ", "_worker (", "Thread.run (", "_connection_worker_thread (")
"""Innermost functions of a thread that waits for work, whatever the system says of it."""

_FRAME = re.compile(r"(?P<name>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")

Stack = tuple[str, ...]


@dataclass
class Bar:
    """One function, called from the one below."""

    name: str
    samples: int = 0
    above: dict[str, "Bar"] = field(default_factory=dict)


def stacks(text: str) -> Counter[Stack]:
    """As py-spy writes them, `outermost;…;innermost count` a line; without those that wait."""
    found: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = tuple(frames.split(";"))
        if not stack[-1].startswith(WAITING):
            found[stack] += int(count)
    return found


def costs(found: Mapping[Stack, int], most: int) -> list[tuple[str, float]]:
    """The lines in which most time passes, calls of other Python code not counted: what stands there, and the share."""
    alone: Counter[str] = Counter()
    for stack, count in found.items():
        alone[stack[-1]] += count
    whole = sum(alone.values())
    return [(_said(frame), count / whole) for frame, count in alone.most_common(most)]


def _said(frame: str) -> str:
    """`the line` in its function, as far as its file is found."""
    match = _FRAME.fullmatch(frame)
    if match is None or match["line"] is None:
        return f"`{frame}`"
    files = (Path(base, match["file"]) for base in ("/", *sys.path))
    file = next((str(file) for file in files if file.is_file()), "")
    line = linecache.getline(file, int(match["line"])).strip()
    where = f"`{match['name']}` ({match['file']})"
    return f"`{line}` in {where}" if line else where


def _function(frame: str) -> str:
    """A frame without its line."""
    match = _FRAME.fullmatch(frame)
    return frame if match is None else f"{match['name']} ({match['file']})"


def drawn(found: Mapping[Stack, int], title: str) -> str:
    """The picture, as SVG."""
    root = Bar("all")
    for stack, count in found.items():
        bar = root
        bar.samples += count
        for name, _ in groupby(map(_function, stack)):
            bar = bar.above.setdefault(name, Bar(name))
            bar.samples += count
    scale = WIDTH / max(1, root.samples)
    bars = [*_placed(root, 0.0, 0, scale)]
    height = (max(level for _, _, level in bars) + 2) * HEIGHT
    shapes = "\n".join(_shape(bar, x, height - (level + 1) * HEIGHT, scale, root.samples) for bar, x, level in bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<text x="4" y="13">{escape(title)}</text>\n{shapes}\n</svg>\n'
    )


def _placed(bar: Bar, x: float, level: int, scale: float) -> Iterator[tuple[Bar, float, int]]:
    """Each bar with its left edge and its level, but for those that nobody would see."""
    if bar.samples * scale < LEAST:
        return
    yield bar, x, level
    for name in sorted(bar.above):
        yield from _placed(bar.above[name], x, level + 1, scale)
        x += bar.above[name].samples * scale


def _shape(bar: Bar, x: float, y: float, scale: float, whole: int) -> str:
    width = bar.samples * scale
    colour = OURS if "fedk" in bar.name else OTHERS
    letters = int((width - 4) / LETTER)
    shown = bar.name if len(bar.name) <= letters else f"{bar.name[: letters - 1]}…" if letters > 3 else ""  # noqa: PLR2004
    text = f'<text x="{x + 2:.1f}" y="{y + 12:.0f}">{escape(shown)}</text>' if shown else ""
    return (
        f'<g><title>{escape(bar.name)}: {bar.samples / whole:.1%}</title><rect x="{x:.1f}" y="{y:.0f}" '
        f'width="{max(width - 0.3, LEAST):.1f}" height="{HEIGHT - 1}" fill="{colour}"/>{text}</g>'
    )
