"""`fedk config`: check it, show what is in force, print an example."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from fedk.api.columns import columns
from fedk.api.errors import PluginError
from fedk.api.toml import toml, toml_key
from fedk.catalogue import Catalogue
from fedk.catalogue.plugin import ILL, masked
from fedk.settings import Configuration, load
from fedk.settings.example import example as text_of_example
from fedk.settings.settings import Choice

FILE = click.option("--config", "file", type=click.Path(path_type=Path), help="The file; ./fedk.toml unless named.")


@click.group()
def config() -> None:
    """Check fedk.toml and the environment, show what is in force, print an example."""


@config.command()
@FILE
def check(file: Path | None) -> None:
    """Name every mistake; exit 78 if there is one."""
    found, catalogue = checked(file)
    for info in catalogue.entries():
        if info.kind == "hook" and info.state in ILL:
            click.echo(f'warning: hook "{info.name}" {info.error}. {info.hint}', err=True)
    click.echo(f"{found.file or 'no fedk.toml here, all defaults'}: ok")


@config.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON document: by key, its value and its source.")
def show(file: Path | None, as_json: bool) -> None:  # click's signature
    """Every setting in force, and where it comes from. Secrets are masked."""
    found, catalogue = checked(file)
    sections = _sections(found, catalogue)
    if as_json:
        flat = {(*table, name): value for table, values in sections.items() for name, value in values.items()}
        document = {toml_key(*key): {"value": value, "source": found.origin(key)} for key, value in flat.items()}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo("\n\n".join(_lines(found, table, values) for table, values in sections.items()))


@config.command()
def example() -> None:
    """A complete commented fedk.toml. Loaded, it gives the defaults."""
    catalogue = Catalogue.scan()
    click.echo(text_of_example({kind: _configs(catalogue, kind) for kind in load().drivers}), nl=False)


def checked(file: Path | None) -> tuple[Configuration, Catalogue]:
    """Without a mistake, of its own or of a plugin; ConfigError names all. Imports none of the server's rooms."""
    found = load(file, os.environ)
    plugins = found.settings.plugins
    catalogue = Catalogue.scan(disabled=plugins.disabled, allow=plugins.allow)
    catalogue.enforce(plugins.lock)
    for kind, section in found.drivers.items():
        catalogue.ask(kind, section["use"])
    wrong = catalogue.check(found.drivers, idle=True)
    wrong += catalogue.check_hooks(plugins.hooks, found.settings.hooks, idle=True, strict=plugins.strict)
    found.checked(wrong)
    return found, catalogue


def _sections(found: Configuration, catalogue: Catalogue) -> dict[tuple[str, ...], dict[str, Any]]:
    """The keys of each table, those of the selected drivers included."""
    sections: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, section in found.settings:
        if not isinstance(section, BaseModel):
            sections |= {(name, inner): masked(table) for inner, table in section.items()}
        elif isinstance(section, Choice):
            sections[name,] = {"use": section.use}
            driver = section.use.rpartition(":")[2]
            sections[name, driver] = masked(catalogue.settings(name, section.use, section.tables))
        else:
            sections[name,] = masked(section)
    return {table: values for table, values in sections.items() if values}


def _lines(found: Configuration, table: tuple[str, ...], values: dict[str, Any]) -> str:
    rows = [
        (f"{toml_key(name)} = {toml(value)}", f"# {found.origin((*table, name))}") for name, value in values.items()
    ]
    return "\n".join([f"[{toml_key(*table)}]", *columns(rows)])


def _configs(catalogue: Catalogue, kind: str) -> dict[str, type[BaseModel]]:
    """By name, the settings of the drivers that can be loaded."""
    configs: dict[str, type[BaseModel]] = {}
    for name in catalogue.drivers(kind):
        with suppress(PluginError):  # `fedk plugins list` shows it
            configs[name] = catalogue.load(kind, name).config
    return configs
