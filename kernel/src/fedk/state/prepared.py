"""Statements for many rows, compiled once: what SQLAlchemy does anew for each row costs more than writing it."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Connection, Delete, Dialect, Insert, Update
from sqlalchemy.sql.compiler import SQLCompiler

Statement = Insert | Update | Delete


class Prepared:
    """`columns` says under which name a row has the value of each parameter."""

    def __init__(self, statement: Statement, dialect: Dialect, keys: Sequence[str], columns: Mapping[str, str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(keys) if isinstance(statement, Insert) else None)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101  # as of every statement that is no DDL
        self._text, self._positional = str(compiled), compiled.positional
        names = compiled.positiontup if compiled.positional else list(compiled.binds)
        self._fields = [(name, columns.get(name, name), _processor(compiled, name, dialect)) for name in names or ()]

    def run(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Once for each row, in one go where the driver can. For one row: how many rows of the table it has met."""
        return tx.exec_driver_sql(self._text, [self._bound(row) for row in rows]).rowcount

    def _bound(self, row: Mapping[str, Any]) -> Any:
        if self._positional:
            return tuple(
                [row[column] if process is None else process(row[column]) for _, column, process in self._fields]
            )
        return {
            name: row[column] if process is None else process(row[column]) for name, column, process in self._fields
        }


@lru_cache(maxsize=512)
def prepared(
    statement: Statement, dialect: Dialect, keys: tuple[str, ...], columns: tuple[tuple[str, str], ...] = ()
) -> Prepared:
    """The same one for the same question. `keys` are the columns that an Insert is given."""
    return Prepared(statement, dialect, keys, dict(columns))


def _processor(compiled: SQLCompiler, name: str, dialect: Dialect) -> Callable[[Any], Any] | None:
    kind = compiled.binds[name].type
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    return _sparing(process) if isinstance(kind, JSON) and process is not None else process


def _sparing(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Most JSON of a thousand rows is an object with nothing in it, which takes as long to encode as one that has."""
    nothing = process({})
    return lambda value: process(value) if value or not isinstance(value, dict) else nothing
