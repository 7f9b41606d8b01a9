"""Mutants of the machine, made from its source: a guard or an action dropped. Who is not caught is listed.

`python -m tests.simulation.mutants` tries all of them on the unit tests and the schedules; exit 1 when one that
nobody has explained survives, or one that is explained does not.
"""

import ast
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.simulation.schedule import Schedule

from fedk.rounds import counts, machine

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (Path(counts.__file__), Path(machine.__file__))
"""The second uses the first."""

UNIT = ROOT / "kernel" / "tests" / "rounds" / "test_machine.py"
SEEDS = 600

EQUIVALENT: dict[str, str] = {}
"""Mutants that change nothing that matters, and why, by their name."""

Change = Callable[[Any], None]
"""Of one statement, in place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`row` is the function, which is a row or a column of the table; `at` and `number` say where it stands."""

    row: str
    what: str
    at: int  # in SOURCES
    number: int  # in _places
    change: Change

    @property
    def name(self) -> str:
        return f"{self.row}: {self.what}"

    def advance(self) -> Callable[..., Any]:
        """The machine with that change."""
        tree = ast.parse(SOURCES[self.at].read_text())
        self.change(_places(tree)[self.number][1])
        codes = [_compiled(tree) if at == self.at else _original(at) for at in range(len(SOURCES))]
        module = types.ModuleType("mutant")
        with patch.dict(sys.modules, {"mutant": module}):  # dataclasses look there
            for code in reversed(codes):  # the machine's own import of the counts is overwritten by them
                exec(code, module.__dict__)  # noqa: S102  # the machine, changed in one place
        return module.advance  # type: ignore[no-any-return]  # a function of that name


def mutants() -> Iterator[Mutant]:
    """All of them, in the order of the sources."""
    for at, source in enumerate(SOURCES):
        for number, (row, node) in enumerate(_places(ast.parse(source.read_text()))):
            for what, change in _changes(node):
                yield Mutant(row, what, at, number, change)


@cache
def _original(at: int) -> types.CodeType:
    return _compiled(ast.parse(SOURCES[at].read_text()))


def _compiled(tree: ast.Module) -> types.CodeType:
    return compile(ast.fix_missing_locations(_Bounded().visit(tree)), "mutant", "exec")


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
        return loop


def _places(tree: ast.Module) -> list[tuple[str, ast.stmt]]:
    """Statements that do something or guard something, with the function that they stand in."""
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name not in ("__init__", "session")]
    return [
        (f.name, s)
        for f in sorted(functions, key=lambda f: f.lineno)
        for s in ast.walk(f)
        if isinstance(s, ast.If) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Call))
    ]


def _changes(node: ast.stmt) -> Iterator[tuple[str, Callable[[Any], None]]]:
    if isinstance(node, ast.If):
        yield f"if {ast.unparse(node.test)}: always", lambda n: setattr(n, "test", ast.Constant(True))
        yield f"if {ast.unparse(node.test)}: never", lambda n: setattr(n, "test", ast.Constant(False))
        if isinstance(node.test, ast.BoolOp):
            for at, part in enumerate(node.test.values):
                yield f"if {ast.unparse(node.test)}: without {ast.unparse(part)}", partial(_drop, at)
    else:
        text = ast.unparse(node)
        yield f"without {text}", lambda n: n.__dict__.update(value=ast.Constant(None))


def _drop(at: int, node: ast.If) -> None:
    assert isinstance(node.test, ast.BoolOp)
    left = [value for n, value in enumerate(node.test.values) if n != at]
    node.test = left[0] if len(left) == 1 else ast.BoolOp(node.test.op, left)


def caught(advance: Callable[..., Any], seeds: int = SEEDS) -> bool:
    """Whether a unit test or a schedule sees the difference."""
    module, tests = _unit_tests()
    with patch.object(module, "advance", advance):
        if any(_fails(test) for test in tests):
            return True
    return any(_fails(Schedule(seed, advance).play) for seed in range(seeds))


def _fails(play: Callable[[], object]) -> bool:
    try:
        play()
    except Exception:  # noqa: BLE001  # a mutant may break in any way
        return True
    return False


@cache
def _unit_tests() -> tuple[types.ModuleType, list[Callable[[], object]]]:
    spec = importlib.util.spec_from_file_location("unit", UNIT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"unit": module}):
        spec.loader.exec_module(module)
    named = {name: function for name, function in vars(module).items() if name.startswith("test_")}
    return module, [function for function in named.values() if not inspect.signature(function).parameters]


def main() -> int:
    survivors, count = [], 0
    for mutant in mutants():
        count += 1
        if not caught(mutant.advance()):
            survivors.append(mutant.name)
            known = EQUIVALENT.get(mutant.name)
            print(f"survives   {mutant.name}{f'   ({known})' if known else ''}", flush=True)  # noqa: T201  # its result
    unknown = [name for name in survivors if name not in EQUIVALENT]
    gone = [name for name in EQUIVALENT if name not in survivors]
    print(f"{count} mutants, {count - len(survivors)} caught, {len(survivors)} survive, {len(unknown)} unexplained")  # noqa: T201  # its result
    if gone:
        print("explained, and not among them: " + "; ".join(gone))  # noqa: T201  # its result
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main())
