"""The settings of a codec: its dataclass's fields, because clients make codecs without a kernel."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import Any, get_type_hints

import pydantic

from fedk.api.config import Config


@lru_cache(maxsize=64)  # making a model takes a millisecond
def config_of_fields(cls: type[Any]) -> type[Config]:
    """What is bounded and described by the fields' metadata, as pydantic's `Field` names it."""
    types = get_type_hints(cls)
    made: Mapping[str, Any] = {one.name: (types[one.name], _field(one)) for one in fields(cls) if one.init}
    return pydantic.create_model(f"{cls.__name__}Config", __base__=Config, __module__=cls.__module__, **made)


def _field(one: "Field[Any]") -> Any:
    default = ... if one.default is MISSING else one.default
    return pydantic.Field(default, **one.metadata)
