"""Suites are versioned: every test says since when it is there, and a plugin may keep to an older version."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

import fedk.testing
from fedk.catalogue import KINDS
from fedk.testing.suite import VERSION, Suite, since

pytest_plugins = ["pytester"]
FOLDER = Path(fedk.testing.__file__).parent


def suites() -> list[type[Suite]]:
    for file in FOLDER.glob("*.py"):
        if "Suite(Suite)" in file.read_text("utf-8"):
            import_module(f"fedk.testing.{file.stem}")
    return [suite for suite in Suite.__subclasses__() if suite.__module__.startswith("fedk.testing.")]


def test_every_family_has_its_suite() -> None:
    assert {suite.__module__.rpartition(".")[2] for suite in suites()} == KINDS.keys()
    assert {suite.__name__ for suite in suites()} <= set(fedk.testing.__all__)


@pytest.mark.parametrize("suite", suites(), ids=lambda suite: suite.__name__)
def test_every_test_of_a_suite_says_since_when_it_is_there(suite: type[Suite]) -> None:
    tests = {name: f for name, f in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")}
    assert tests
    unmarked = [name for name, f in tests.items() if not hasattr(f, "since")]
    assert not unmarked
    assert all(Version(f.since) <= Version(VERSION) for f in map(_marked, tests.values()))


def _marked(function: Any) -> Any:
    return function


def test_a_test_keeps_its_own_mark() -> None:
    @since("1.0")
    class One(Suite):
        def test_old(self) -> None: ...

        @since("1.1")
        def test_new(self) -> None: ...

    assert (_marked(One.test_old).since, _marked(One.test_new).since) == ("1.0", "1.1")


def test_a_plugin_that_keeps_to_an_older_suite_skips_what_came_later(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from fedk.testing.suite import Suite, since

        @since("1.0")
        class TestMine(Suite):
            up_to = "1.0"
            def test_old(self): ...
            @since("1.1")
            def test_new(self): raise AssertionError
    """)
    result = pytester.runpytest_inprocess("-rs", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*came with suite 1.1; this plugin keeps to 1.0*"])
