"""`fedk plugins`: what is installed, in which state, and why."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from fedk.api.columns import columns
from fedk.catalogue import Catalogue, PluginInfo
from fedk.catalogue.key import keys
from fedk.cli.config import FILE
from fedk.settings import load

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_USED = ("aggregator", "balancer", "storage", "db")
_WELL = ("available", "active", "disabled", "shadowed")


@click.group()
def plugins() -> None:
    """What is installed, in which state, and why."""


@plugins.command("list")
@FILE
@_JSON
def list_(file: Path | None, as_json: bool) -> None:  # click's signature
    """Every plugin that is found, or asked for by the configuration. Imports none."""
    found = _catalogue(file).entries()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in found], ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_listed(found)))


@plugins.command()
@click.argument("name")
@click.option("--kind", help="aggregator, balancer, storage, db, codec, hook: where a name is in several.")
@FILE
@_JSON
def show(name: str, kind: str | None, file: Path | None, as_json: bool) -> None:  # click's signature
    """One plugin, by NAME or DISTRIBUTION:NAME, with its keys. Imports it."""
    info = _catalogue(file).show(name, kind, load=True)
    if as_json:
        click.echo(json.dumps(asdict(info), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_shown(info)))


def _catalogue(file: Path | None) -> Catalogue:
    """What is installed, as the configuration selects it; a configuration with mistakes is no reason to show nothing."""
    found = load(file, os.environ)
    if found.mistakes:
        click.echo(f"{found.file or 'environment'} has mistakes: fedk config check", err=True)
    chosen = found.settings.plugins
    catalogue = Catalogue.scan(disabled=chosen.disabled, allow=chosen.allow)
    for kind, section in found.drivers.items():
        catalogue.ask(kind, section["use"])
    return catalogue


def _listed(found: Sequence[PluginInfo]) -> Iterator[str]:
    header = ("kind", "name", "state", "distribution", "summary")
    rows = [(i.kind, i.name, i.state, f"{i.distribution} {i.version}".strip(), i.error or i.summary) for i in found]
    yield from (_fitted(line) for line in columns([header, *rows], gap=2))
    ill = [info.name for info in found if info.state not in _WELL]
    attention = f", {len(ill)} need attention: fedk plugins show {' | '.join(ill)}" if ill else ""
    yield f"{len(found)} plugins{attention}"


def _fitted(line: str) -> str:
    """On a terminal a row is one line; a pipe gets it whole."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _shown(info: PluginInfo) -> Iterator[str]:
    facts = (f"{info.distribution} {info.version}".strip(), info.license, info.requires)
    yield f"{info.kind} {info.name}   {info.state}   {', '.join(filter(None, facts))}".rstrip()
    yield from (f"  {line}" for line in (info.summary, info.file) if line)
    if info.error:
        yield f"  why   {info.error}"
    if info.hint:
        yield f"  next  {info.hint}"
    if info.import_ms is not None:
        yield f"  imported in {info.import_ms:g} ms"
    table = [(key.name, key.default, key.allowed, key.meaning) for key in keys(info.config_schema or {})]
    if table:
        yield from (f"  {line}" for line in columns([("key", "default", "allowed", "meaning"), *table], gap=2))
    if info.kind in _USED and info.state in _WELL:
        yield f'  use it:  [{info.kind}] use = "{info.name}"'
