"""Tables: columns under their names, numbers to the right."""

from collections.abc import Collection, Iterable, Sequence

from fedk.api.columns import columns
from fedk.api.printable import printable


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> list[str]:
    """Lines; the columns that `right` names stand to the right."""
    every = [list(header), *(list(map(printable, row)) for row in rows)]
    for index, name in enumerate(header):
        if name in right:
            width = max(len(row[index]) for row in every)
            for row in every:
                row[index] = row[index].rjust(width)
    return [f" {line}" for line in columns(every, gap=2)]


def facts(rows: Iterable[tuple[str, str]]) -> list[str]:
    """A word, and what is to be said of it; a word that comes again is said once."""
    lines, before = [], ""
    for word, text in rows:
        lines.append(f"{word if word != before else '':<10} {printable(text)}")
        before = word
    return lines


def names(every: Sequence[str], most: int = 8) -> str:
    """a b c, or the first ones and how many there are."""
    return " ".join(every) if len(every) <= most else f"{' '.join(every[:most])} … ({len(every)})"
