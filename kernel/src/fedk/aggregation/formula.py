"""Calling a formula: whatever it raises becomes a FormulaError that names the plugin."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fedk.api.aggregator import AnyAggregator, Config
from fedk.api.errors import FormulaError


def name_of(aggregator: AnyAggregator[Config]) -> str:
    """The plugin's class as a person finds it: fedk_plugin_fedavg.FedAvg; of a composition each."""
    parts: tuple[AnyAggregator[Config], ...] = getattr(aggregator, "parts", ())
    if parts:
        return ", then ".join(map(name_of, parts))
    kind = type(aggregator)
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def formula(aggregator: AnyAggregator[Config], method: str, about: str = "") -> Iterator[None]:
    """Around a call of `method`; what is not finite is found in the values, so numpy need not warn."""
    try:
        with np.errstate(all="ignore"):
            yield
    except FormulaError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{name_of(aggregator)}: {method} raised {type(error).__name__}: {error}{about}"
        raise FormulaError(f"{text} ({frame.filename}:{frame.lineno})") from error
