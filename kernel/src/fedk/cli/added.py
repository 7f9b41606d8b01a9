"""The commands that hook plugins add: of those that ./fedk.toml or the environment enables."""

import os
from functools import cache
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def added() -> "Mapping[str, click.Command]":
    """By name. What is wrong with a plugin or the configuration is told, and hides no command of `fedk` itself."""
    from fedk.api.errors import FedkError

    try:
        return _added()
    except FedkError as error:
        click.echo(f"warning: no commands of plugins: {error}", err=True)
        return {}


def _added() -> "dict[str, click.Command]":
    from fedk.catalogue import Catalogue
    from fedk.catalogue.extensions import commands
    from fedk.catalogue.hooks import enable
    from fedk.catalogue.plugin import ILL
    from fedk.cli import NOUNS
    from fedk.settings import load

    found = load(env=os.environ).settings
    if not found.plugins.hooks:
        return {}
    catalogue = Catalogue.scan(disabled=found.plugins.disabled, allow=found.plugins.allow)
    catalogue.enforce(found.plugins.lock)
    added = commands(enable(catalogue, found.plugins.hooks, found.hooks), NOUNS)
    for info in catalogue.entries():
        if info.kind == "hook" and info.state in ILL:
            click.echo(f'warning: hook "{info.name}" {info.error}. {info.hint}', err=True)
    return added
