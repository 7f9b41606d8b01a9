"""`fedk.toml` and the environment: typed settings, and every mistake at once."""

from fedk.settings.address import host_port, is_loopback
from fedk.settings.configuration import Configuration, load
from fedk.settings.settings import Settings

__all__ = ["Configuration", "Settings", "host_port", "is_loopback", "load"]
