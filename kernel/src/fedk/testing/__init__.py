"""Suites that third parties run against their plugins, and what else their tests need.

`from fedk.testing import AggregatorSuite, aggregate`. Only the suites need pytest: a name is imported when it is asked
for.
"""

import pkgutil
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedk.testing.aggregation import Answer, State, aggregate
    from fedk.testing.aggregator import AggregatorSuite
    from fedk.testing.balancer import BalancerSuite
    from fedk.testing.blocks import BlockCodecSuite
    from fedk.testing.codec import CodecSuite
    from fedk.testing.db import DatabaseSuite
    from fedk.testing.hook import HookSuite
    from fedk.testing.storage import StorageSuite
    from fedk.testing.textbook import Textbook, Told

__all__ = [
    "AggregatorSuite",
    "Answer",
    "BalancerSuite",
    "BlockCodecSuite",
    "CodecSuite",
    "DatabaseSuite",
    "HookSuite",
    "State",
    "StorageSuite",
    "Textbook",
    "Told",
    "aggregate",
]

_MODULES = {
    "AggregatorSuite": "aggregator",
    "Answer": "aggregation",
    "BalancerSuite": "balancer",
    "BlockCodecSuite": "blocks",
    "CodecSuite": "codec",
    "DatabaseSuite": "db",
    "HookSuite": "hook",
    "State": "aggregation",
    "StorageSuite": "storage",
    "Textbook": "textbook",
    "Told": "textbook",
    "aggregate": "aggregation",
}

if "pytest" in sys.modules:  # failed assertions of a suite show their values, as those of a test file do
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__)))


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no {name}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
