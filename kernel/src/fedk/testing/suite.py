"""What all suites share: a version, and for each test the version that it came with."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import pytest
from packaging.version import Version

T = TypeVar("T", bound=Callable[..., Any] | type)

VERSION = "1.0"
"""Of all suites together. Grows when a test is added: what passed 1.0 may fail 1.1."""


def since(version: str) -> Callable[[T], T]:
    """Mark a test, or every test of a suite that is not marked itself."""

    def mark(marked: T) -> T:
        tests = [f for name, f in vars(marked).items() if name.startswith("test_")] if isinstance(marked, type) else []
        for test in tests or [marked]:
            if not hasattr(test, "since"):
                test.since = version
        return marked

    return mark


class Suite:
    """Subclass a suite, name your plugin, run it with pytest. Names that begin with an underscore are the suite's own."""

    version: ClassVar[str] = VERSION
    up_to: ClassVar[str | None] = None
    """Skip tests that came after this version, until the plugin has caught up; what was recorded says so."""

    @pytest.fixture(autouse=True)
    def _skips_what_came_later(self, request: pytest.FixtureRequest) -> None:
        came = getattr(request.function, "since", VERSION)
        if self.up_to is not None and Version(came) > Version(self.up_to):
            pytest.skip(f"came with suite {came}; this plugin keeps to {self.up_to}")
