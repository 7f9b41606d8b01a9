"""Mutants of the machine, made from its source: a guard or an action dropped. Who is not caught is listed.

`python -m tests.simulation.mutants` tries all of them on the unit tests and the schedules; exit 1 when one that
nobody has explained survives, or one that is explained does not.
"""

import ast
import importlib
import inspect
import multiprocessing
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

from tests.simulation.equivalent import EQUIVALENT
from tests.simulation.schedule import Schedule

from fedk.rounds import arrivals, asking, closing, counts, draft, holders, lifecycle, machine, states

MODULES = (machine, draft, lifecycle, asking, arrivals, holders, closing, counts, states)
PARTS = ("machine", "lifecycle", "asking", "arrivals", "gathering", "closing", "measuring")
ROOT = Path(__file__).resolve().parents[2]
UNIT = [f"kernel.tests.rounds.test_{name}" for name in PARTS]
SEEDS = 600
"""Schedules that a mutant has to live through."""
PROCESSES = 2

Node = ast.If | ast.IfExp | ast.BoolOp | ast.comprehension | ast.Expr
Change = Callable[[ast.AST], None]
"""Of one place, in place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function, which is a row, or a column, of the machine's table."""

    name: str  # MODULE.FUNCTION: what is changed
    module: types.ModuleType
    function: str
    number: int  # of its place in the function
    change: Change

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The machine is this mutant inside."""
        tree = ast.parse(_source(self.module))
        self.change(_places(_functions(tree)[self.function])[self.number])
        with _swapped(machine, "advance"), _swapped(self.module, self.function, tree):
            yield


def mutants() -> Iterator[Mutant]:
    """All of them, in the order of the sources."""
    seen = Counter[str]()
    for module in MODULES:
        for function, node in _functions(ast.parse(_source(module))).items():
            for number, place in enumerate(_places(node)):
                for what, change in _changes(place):
                    name = f"{module.__name__.rpartition('.')[2]}.{function}: {what}"
                    seen[name] += 1
                    again = f" ({seen[name]})" if seen[name] > 1 else ""
                    yield Mutant(name + again, module, function, number, change)


# ---- what is changed ----


@cache
def _source(module: types.ModuleType) -> str:
    return inspect.getsource(module)


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """By their names, with the class's in front."""
    inside = {f"{c.name}.": c.body for c in tree.body if isinstance(c, ast.ClassDef)}
    return {
        prefix + f.name: f
        for prefix, body in ({"": tree.body} | inside).items()
        for f in body
        if isinstance(f, ast.FunctionDef) and f.name != "__init__"
    }


def _places(function: ast.FunctionDef) -> list[Node]:
    """What does something, and what guards something."""
    return [
        n
        for n in ast.walk(function)
        if isinstance(n, ast.If | ast.IfExp | ast.BoolOp | ast.comprehension)
        or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Call))
    ]


def _changes(node: Node) -> Iterator[tuple[str, Change]]:
    match node:
        case ast.If() | ast.IfExp():
            for word, value in (("always", True), ("never", False)):
                yield f"if {ast.unparse(node.test)}: {word}", partial(_test, value)
        case ast.BoolOp(values=parts):
            for at, part in enumerate(parts):
                yield f"{ast.unparse(node)}: without {ast.unparse(part)}", partial(_drop, at)
        case ast.comprehension(ifs=ifs):
            for at, part in enumerate(ifs):
                yield f"of {ast.unparse(node.iter)}: also unless {ast.unparse(part)}", partial(_admit, at)
        case ast.Expr():
            yield f"without {ast.unparse(node)}", _idle


def _test(value: bool, node: ast.AST) -> None:  # by partial
    assert isinstance(node, ast.If | ast.IfExp)
    node.test = ast.Constant(value)


def _drop(at: int, node: ast.AST) -> None:
    assert isinstance(node, ast.BoolOp)
    del node.values[at]
    if len(node.values) == 1:
        node.values.append(node.values[0])


def _admit(at: int, node: ast.AST) -> None:
    assert isinstance(node, ast.comprehension)
    del node.ifs[at]


def _idle(node: ast.AST) -> None:
    assert isinstance(node, ast.Expr)
    node.value = ast.Constant(None)


class _Bounded(ast.NodeTransformer):
    """A mutant that judges for ever fails instead."""

    def visit_While(self, node: ast.While) -> ast.For:  # as ast calls it
        text = (
            "for _ in range(1000):\n    if not 0:\n        break\nelse:\n    raise RuntimeError('it judges for ever')"
        )
        loop = ast.parse(text).body[0]
        assert isinstance(loop, ast.For)
        assert isinstance(loop.body[0], ast.If)
        loop.body[0].test = ast.UnaryOp(ast.Not(), node.test)
        loop.body[1:] = [self.visit(statement) for statement in node.body]
        return loop


@contextmanager
def _swapped(module: types.ModuleType, function: str, tree: ast.Module | None = None) -> Iterator[None]:
    """The function has the code that it has in `tree`: whoever has imported it sees the change."""
    tree = _Bounded().visit(tree or ast.parse(_source(module)))
    found = _function(module, function)
    before = found.__code__
    found.__code__ = _code(compile(ast.fix_missing_locations(tree), f"<{function}>", "exec"), function)
    try:
        yield
    finally:
        found.__code__ = before


def _function(module: types.ModuleType, name: str) -> types.FunctionType:
    owner, _, last = name.rpartition(".")
    found = inspect.getattr_static(getattr(module, owner) if owner else module, last)
    found = found.fget if isinstance(found, property) else found
    assert isinstance(found, types.FunctionType)
    return found


def _code(code: types.CodeType, name: str) -> types.CodeType:
    first, _, rest = name.partition(".")
    found = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == first)
    return _code(found, rest) if rest else found


# ---- who catches it ----


def caught(mutant: Mutant) -> str:
    """The unit test, or the schedule, that sees the difference; "" for none."""
    with mutant.applied():
        for test in _unit_tests():
            if _fault(test):
                return test.__name__
    seed, _ = caught_by_schedule(mutant, range(SEEDS))
    return f"Schedule({seed}).play()" if seed >= 0 else ""


def caught_by_schedule(mutant: Mutant, seeds: Iterable[int]) -> tuple[int, str]:
    """The first of these schedules that sees it, and what it says; (-1, "") for none."""
    with mutant.applied():
        for seed in seeds:
            if fault := _fault(Schedule(seed).play):
                return seed, fault
    return -1, ""


def _fault(play: Callable[[], object]) -> str:
    try:
        play()
    except Exception as error:  # noqa: BLE001  # a mutant may break in any way
        return repr(error)
    return ""


@cache
def _unit_tests() -> list[types.FunctionType]:
    with patch.object(sys, "path", [str(ROOT), *sys.path]):  # pytest has no folder of its own there
        found = [value for name in UNIT for value in vars(importlib.import_module(name)).values()]
    tests = [f for f in found if isinstance(f, types.FunctionType) and f.__name__.startswith("test_")]
    return [test for test in tests if not inspect.signature(test).parameters]


ALL = list(mutants())


def named(name: str) -> Mutant:
    """KeyError where the source has no such place any more."""
    return {mutant.name: mutant for mutant in ALL}[name]


def _tried(at: int) -> str:
    return caught(ALL[at])


def main() -> int:
    start, survivors = time.monotonic(), list[str]()
    _unit_tests()  # imported before the processes are forked
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        for mutant, by in zip(ALL, pool.imap(_tried, range(len(ALL))), strict=True):
            if not by:
                survivors.append(mutant.name)
                reason = EQUIVALENT.get(mutant.name, "SURVIVES")
                print(f"{mutant.name}\n    {reason}", flush=True)  # noqa: T201  # its result
    unknown = [name for name in survivors if name not in EQUIVALENT]
    gone = [name for name in EQUIVALENT if name not in survivors]
    print(  # noqa: T201  # its result
        f"{len(ALL)} mutants in {time.monotonic() - start:.0f} s: {len(ALL) - len(survivors)} killed,"
        f" {len(survivors) - len(unknown)} equivalent, {len(unknown)} survive"
    )
    if gone:
        print("called equivalent, and killed or gone: " + "; ".join(gone))  # noqa: T201  # its result
    return bool(unknown or gone)


if __name__ == "__main__":
    sys.exit(main())
