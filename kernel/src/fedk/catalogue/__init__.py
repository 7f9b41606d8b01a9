"""Which plugins there are: found by their metadata, loaded when chosen, inspected always."""

from fedk.catalogue.catalogue import Catalogue
from fedk.catalogue.kind import KINDS
from fedk.catalogue.plugin import Plugin, PluginInfo

__all__ = ["KINDS", "Catalogue", "Plugin", "PluginInfo"]
