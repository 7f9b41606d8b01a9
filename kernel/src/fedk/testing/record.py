"""A pytest plugin that counts what a suite of fedk says of a plugin: `pytest -p fedk.testing.record --fedk-record FILE`."""

import json
from collections import Counter
from pathlib import Path

import pytest

from fedk.testing.suite import VERSION, Suite


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fedk-record", type=Path, default=None, help="write the suite's counts to this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(config.getoption("--fedk-record")), "fedk-recorder")


class Recorder:
    """Counts the tests of suites apart from the author's own."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._suite: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._up_to = VERSION

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            cls = getattr(item, "cls", None)
            if isinstance(cls, type) and issubclass(cls, Suite) and hasattr(getattr(item, "function", None), "since"):
                self._suite.add(item.nodeid)
                self._up_to = cls.up_to or self._up_to

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid in self._suite and (report.when == "call" or not report.passed):
            self._counts[report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        if self._path is not None:
            counts = {name: self._counts[name] for name in ("passed", "failed", "skipped")}
            self._path.write_text(json.dumps({"suite": self._up_to, **counts}), "utf-8")
