"""What can be wrong with the state.

StateError              of fedk.api: the database or the data directory cannot be used
├── Locked              another process has the data directory
├── LostLease           another server has taken over the database
├── WrongRelease        the database was written by a newer release, or waits for its upgrade
├── Busy                another process's transaction does not end
├── DiskFull            the database cannot grow
└── ConnectionLost      the outcome of the transaction is unknown: read before repeating
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fedk.api.errors import StateError


class Locked(StateError):
    """Another process has the data directory."""

    def __init__(self, text: str, *, admin: str = "") -> None:
        super().__init__(text)
        self.admin = admin
        """Where to ask instead: the address of the server's REST, once it listens."""


class LostLease(StateError):
    """Another server has taken over the database."""


class WrongRelease(StateError):
    """The database was written by a newer release, or waits for its upgrade."""


class Busy(StateError):
    """Another process's transaction does not end."""


class DiskFull(StateError):
    """The database cannot grow."""


class ConnectionLost(StateError):
    """The outcome of the transaction is unknown: read before repeating."""


OURS = (IntegrityError, ProgrammingError, DataError)
"""Mistakes in what was asked, not a state of the database."""

CAUSES: dict[str, tuple[type[StateError], str]] = {
    "SQLITE_FULL": (DiskFull, "free space on its disk"),
    "SQLITE_BUSY": (Busy, "end the other process that uses it"),
    "SQLITE_LOCKED": (Busy, "end the other process that uses it"),
    "SQLITE_READONLY": (StateError, "make the file and its directory writable"),
    "SQLITE_CANTOPEN": (StateError, "look at the path and its permissions"),
    "SQLITE_IOERR": (StateError, "look at the disk"),
    "SQLITE_CORRUPT": (StateError, "restore it from a backup"),
    "SQLITE_NOTADB": (StateError, "restore it from a backup, or name another file"),
    "08": (ConnectionLost, "look at the database server and the network"),  # SQLSTATE, by class or in full
    "53100": (DiskFull, "free space on its disk"),
    "55P03": (Busy, "end the other transaction"),
    "57P": (ConnectionLost, "look at the database server"),
}


def described(url: URL) -> str:
    """The database in an error's words: its file, or its server without the password."""
    if url.host is None and url.database:
        return f"database {unquote(url.database.removeprefix('file:'))}"
    return f"database {url.render_as_string()}"


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Around database calls: a failure of the database becomes the StateError that says what to do."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error, OURS) and not error.connection_invalidated:
            raise
        raise _explained(database, error) from error
    except PoolTimeoutError as error:
        raise Busy(f"{database}: all connections are in use. Try again") from error


def _explained(database: str, error: DBAPIError) -> StateError:
    if error.connection_invalidated:
        return ConnectionLost(f"{database}: the connection was lost ({error.orig}). Look at the database")
    kind, advice = StateError, "look at the database and its disk"
    code = _code(error)
    for prefix, cause in CAUSES.items():
        if code.startswith(prefix):
            kind, advice = cause
    return kind(f"{database}: {error.orig}{f' ({code})' if code else ''}. {advice[0].upper()}{advice[1:]}")


def _code(error: DBAPIError) -> str:
    """The name of SQLite's result, or the SQLSTATE that other drivers give."""
    for attribute in ("sqlite_errorname", "sqlstate", "pgcode"):
        if code := getattr(error.orig, attribute, None):
            return str(code)
    return ""
