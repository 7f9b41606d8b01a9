"""What all plugins that have settings share: a class named by an entry point, its Config given as the type argument."""

from typing import Any, Generic, TypeVar, get_args, get_origin

from fedk.api.config import Config

C = TypeVar("C", bound=Config)


class Configured(Generic[C]):
    """A class with settings. `class FedYogi(MeanAggregator[YogiConfig])` makes `self.config` a YogiConfig."""

    def __init__(self, config: C | None = None) -> None:
        self.config: C = config if config is not None else self.config_type()()

    @classmethod
    def config_type(cls) -> type[C]:
        """The Config named in the class statement; plain Config where none is named."""
        return _config_type(cls) or Config  # type: ignore[return-value]  # a TypeVar is bound to Config


class Driver(Configured[C]):
    """A plugin chosen by name: exactly one answers."""


def _config_type(cls: type) -> type[Config] | None:
    for base in getattr(cls, "__orig_bases__", ()):
        origin: Any = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Configured):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Config):
                    return argument
    for parent in cls.__bases__:
        found = _config_type(parent)
        if found is not None:
            return found
    return None
