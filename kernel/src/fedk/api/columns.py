"""Text in columns, for terminals and pipes."""

from collections.abc import Iterable, Sequence


def columns(rows: Iterable[Sequence[str]], gap: int = 3) -> list[str]:
    """Lines whose cells stand below each other; all rows are equally long."""
    table = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    space = " " * gap
    return [space.join(map(str.ljust, row, widths)).rstrip() for row in table]
