"""Quantities as people read them: bytes, seconds, moments, metrics."""

import time
from datetime import datetime

_UNITS = ("B", "kB", "MB", "GB", "TB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: float) -> str:
    """38.8 kB, 388 kB, 7.8 MB."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004  # what 0 digits would show as 1000
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 99.95 else f"{count:.0f} {_UNITS[unit]}"  # noqa: PLR2004


def seconds(value: float | None) -> str:
    """0.081, 30.11, 1204."""
    if value is None:
        return "–"
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 0}f}"  # noqa: PLR2004  # four digits, as a table has


def span(value: float) -> str:
    """3 s, 9:41, 1:02:03."""
    whole = int(value)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE)
    return f"{minutes}:{rest:02}" if whole < _HOUR else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def ago(at: float) -> str:
    """now, 9 s, 3 min, 2 h, 5 d."""
    passed = max(0.0, time.time() - at)
    if passed < 1:
        return "now"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if passed >= length:
            return f"{int(passed // length)} {unit}"
    return f"{int(passed)} s"


def moment(at: float) -> str:
    """14:02:11 of today, 2026-11-24 14:02 of another day."""
    then = datetime.fromtimestamp(at).astimezone()
    today = datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")


def metric(value: float) -> str:
    """0.939, 12.5, 1.2e-05."""
    if value and not 0.001 <= abs(value) < 1000:  # noqa: PLR2004  # three decimals would show nothing, or too much
        return f"{value:.3g}"
    return f"{value:.3f}"


def counted(count: int, noun: str) -> str:
    """1 round, 20 rounds."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
