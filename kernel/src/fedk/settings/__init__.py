"""`fedk.toml` and the environment: typed settings, and every mistake at once."""

from fedk.settings.address import is_loopback
from fedk.settings.configuration import Configuration, load
from fedk.settings.settings import Settings

__all__ = ["Configuration", "Settings", "is_loopback", "load"]
