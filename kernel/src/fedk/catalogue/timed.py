"""A driver's calls, counted and timed where it is used: nothing for its author to do."""

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any

from fedk.catalogue.tally import Tally


def timed(driver: Any, tally: Tally) -> None:
    """Count the functions that its contract demands: `step`, `assign`, `seal` …"""
    for name in sorted(set().union(*(getattr(base, "__abstractmethods__", ()) for base in type(driver).__mro__))):
        try:
            setattr(driver, name, _counted(getattr(driver, name), tally))
        except (AttributeError, TypeError):  # its class has slots, or forbids it: it goes uncounted
            return


def _counted(function: Callable[..., Any], tally: Tally) -> Callable[..., Any]:
    @wraps(function)
    def counted(*arguments: Any, **keywords: Any) -> Any:
        started, failed = perf_counter(), True
        try:
            value = function(*arguments, **keywords)
            failed = False
            return value
        finally:
            tally.add(perf_counter() - started, failed=failed)

    return counted
