"""Alembic's configuration, in code: the migrations travel in the wheel, without a file beside them."""

from alembic.config import Config
from sqlalchemy import Connection


def config(connection: Connection) -> Config:
    """For commands on this connection, inside its transaction."""
    configuration = Config(attributes={"connection": connection})
    configuration.set_main_option("script_location", "fedk.state:migrations")
    configuration.set_main_option("path_separator", "os")
    return configuration
