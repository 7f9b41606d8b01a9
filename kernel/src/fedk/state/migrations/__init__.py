"""The tables' history: one file in versions/ for each change, in order; `upgrade` brings a database to the newest.

A new one is written by `python -m fedk.state.migrations WHAT CHANGED` after a change of tables.py, and then read over.
"""

from importlib import metadata, resources

from sqlalchemy import Connection, column, insert, inspect, select, table, update

from fedk.state.errors import WrongRelease, described
from fedk.state.tables import schema_info

VERSION = table("alembic_version", column("version_num"))


def release() -> str:
    return metadata.version("fedk")


def head() -> str:
    """The newest revision: the number that begins its file's name."""
    names = [path.name for path in resources.files(__name__).joinpath("versions").iterdir()]
    return max((name[:4] for name in names if name[:4].isdigit()), default="0000")


def revision(connection: Connection) -> str | None:
    """The database's revision; None: it is empty. Without Alembic, whose import a reader need not wait for."""
    if not inspect(connection).has_table(VERSION.name):
        return None
    return connection.execute(select(VERSION.c.version_num)).scalar()


def upgrade(connection: Connection, *, rules_version: int) -> None:
    """Bring the database to this release, inside the caller's transaction; all or nothing where DDL can be undone."""
    before = revision(connection)
    written = _written(connection) if before is not None else None
    _refuse_newer(connection, before, written, rules_version)
    if before != head():
        _migrate(connection)
    if before != head() or written is None or written[1] < rules_version:
        values = {"release": release(), "rules_version": rules_version}
        statement = insert(schema_info).values(id=1) if written is None else update(schema_info)
        connection.execute(statement.values(values))


def check(connection: Connection, *, rules_version: int) -> None:
    """For readers: WrongRelease unless this release can read the database as it is."""
    found = revision(connection)
    if found is None:
        raise WrongRelease(f"{described(connection.engine.url)} is empty: no server has used it yet")
    written = _written(connection)
    _refuse_newer(connection, found, written, rules_version)
    if found != head():
        raise WrongRelease(
            f"{described(connection.engine.url)} was written by fedk {written[0]}, this is {release()}: "
            "start the server once, which upgrades it"
        )


def _written(connection: Connection) -> tuple[str, int]:
    row = connection.execute(select(schema_info.c.release, schema_info.c.rules_version)).first()
    return (row.release, row.rules_version) if row is not None else ("unknown", 0)


def _refuse_newer(
    connection: Connection, found: str | None, written: tuple[str, int] | None, rules_version: int
) -> None:
    if found is None or written is None or (found <= head() and written[1] <= rules_version):
        return
    raise WrongRelease(
        f"{described(connection.engine.url)} was written by fedk {written[0]}, this is the older {release()}: "
        f"install fedk {written[0]} or newer, or restore a backup that {release()} wrote"
    )


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # 0.2 s that only an upgrade needs

    from fedk.state.migrations.scripts import config  # noqa: PLC0415  # as above

    command.upgrade(config(connection), "head")
