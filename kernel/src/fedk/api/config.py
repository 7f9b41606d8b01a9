"""Typed settings for drivers and files: the base class, and the units that people write."""

import re
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


class Config(BaseModel):
    """Base of every driver's settings: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _quantity(value: Any, units: dict[str, float] | dict[str, int], example: str) -> Any:
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value)
    if match is None or match[2] not in units:
        raise ValueError(f'wants a number with one of {", ".join(units)}, for example "{example}"')
    number = float(match[1]) * units[match[2]]
    if not isfinite(number):
        raise ValueError("wants a finite number")
    return number


def _seconds(value: Any) -> Any:
    return _quantity(value, _SECONDS, "10m")


def _size(value: Any) -> Any:
    size = _quantity(value, _BYTES, "256 MiB")
    return int(size) if isinstance(size, float) else size


_FROM_SECONDS = BeforeValidator(_seconds, json_schema_input_type=float | str)
_FROM_SIZE = BeforeValidator(_size, json_schema_input_type=int | str)

Duration = Annotated[float, _FROM_SECONDS]
"""Seconds; in a file a number, or text such as "30s", "10m", "2h"."""

Size = Annotated[int, _FROM_SIZE]
"""Bytes; in a file a number, or text such as "256 MiB", "50 GiB"."""
