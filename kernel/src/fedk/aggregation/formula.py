"""Calling a formula: whatever it raises becomes a FormulaError that names the plugin."""

import traceback

import numpy as np

from fedk.api.aggregator import AnyAggregator, Config, Update
from fedk.api.errors import FormulaError

_THROUGH = (FormulaError, KeyboardInterrupt, GeneratorExit)
"""All else is a fault of the formula: sys.exit() in a thread of it would end the server with all its sessions."""


def name_of(aggregator: AnyAggregator[Config]) -> str:
    """The plugin's class as a person finds it: fedk_plugin_fedavg.FedAvg; of a composition each."""
    parts: tuple[AnyAggregator[Config], ...] = getattr(aggregator, "parts", ())
    if parts:
        return ", then ".join(map(name_of, parts))
    kind = type(aggregator)
    return f"{kind.__module__}.{kind.__qualname__}"


def of(update: Update) -> str:
    """Which one a formula was called with."""
    return f" for update {update.key} of client {update.client}"


class formula:  # noqa: N801  # a context manager, as those of the standard library
    """Around a call of `method`; what is not finite is found in the values, so numpy need not warn.

    A class: it is entered for every update, and a generator would cost more than most formulas.
    """

    __slots__ = ("_aggregator", "_method", "_state", "_update")

    def __init__(self, aggregator: AnyAggregator[Config], method: str, update: Update | None = None) -> None:
        self._aggregator, self._method, self._update = aggregator, method, update
        self._state = np.errstate(all="ignore")

    def __enter__(self) -> None:
        self._state.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._state.__exit__(None, None, None)
        if error is not None and not isinstance(error, _THROUGH):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{name_of(self._aggregator)}: {self._method} raised {type(error).__name__}: {error}"
            text += of(self._update) if self._update is not None else ""
            raise FormulaError(f"{text} ({frame.filename}:{frame.lineno})") from error
