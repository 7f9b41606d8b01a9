"""Nothing waits by looking again and again: work starts when its cause arrives."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("protocol/src", "kernel/src", "client/python/src", "plugins", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name and "tests" not in path.relative_to(ROOT).parts
)
SUSPECT = re.compile(r"\bsleep\(|\bwait_for\(|asyncio\.timeout\(|\.(wait|get|join|acquire)\([^()]*timeout|time\.sleep")


def test_there_are_sources() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_wait_that_ends_by_the_clock_says_why_at_its_line(path: Path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if SUSPECT.search(line.split("#")[0]):
            assert "#" in line, f"{path}:{number} waits by the clock and gives no reason: {line.strip()}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_timer_arms_itself_again(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "call_later":
                    callback = ast.unparse(call.args[1])
                    assert callback.rpartition(".")[2] != function.name, f"{path}:{call.lineno}"
