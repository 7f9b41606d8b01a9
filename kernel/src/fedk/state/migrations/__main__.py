"""python -m fedk.state.migrations WHAT CHANGED: writes the next migration from what tables.py has and they have not."""

import sys

from alembic import command
from sqlalchemy import create_engine, event

from fedk.state.migrations import head
from fedk.state.migrations.scripts import config


def main(words: list[str]) -> None:
    if not words:
        sys.exit("usage: python -m fedk.state.migrations WHAT CHANGED")
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    with engine.begin() as connection:
        scripts = config(connection)
        command.upgrade(scripts, "head")
        command.revision(scripts, " ".join(words), autogenerate=True, rev_id=f"{int(head()) + 1:04}")


if __name__ == "__main__":
    main(sys.argv[1:])
