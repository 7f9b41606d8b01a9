"""`fedk plugins`: what is installed, in which state, and why; for authors: new, check."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fedk.catalogue import KINDS, Catalogue, PluginInfo
from fedk.catalogue.plugin import ILL
from fedk.cli.config import FILE
from fedk.cli.document import document
from fedk.cli.screens.plugin import listed, shown
from fedk.settings import load

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_URL = click.option("--url", help="Ask this server what it uses, what calls cost; else: what is installed here.")
_KIND = click.option("--kind", type=click.Choice(list(KINDS)), help="Where a name is in several.")


@click.group()
def plugins() -> None:
    """What is installed, in which state, and why."""


@plugins.command("list")
@FILE
@_URL
@_JSON
def list_(file: Path | None, url: str | None, as_json: bool) -> None:  # click's signature
    """Every plugin that is found, or asked for by the configuration. Imports none."""
    found = _of(url) if url is not None else _catalogue(file).entries()
    click.echo(_json(found) if as_json else "\n".join(listed(found)))


@plugins.command()
@click.argument("name")
@_KIND
@FILE
@_URL
@_JSON
def show(name: str, kind: str | None, file: Path | None, url: str | None, as_json: bool) -> None:  # click's signature
    """One plugin, by NAME or DISTRIBUTION:NAME, with its keys. Imports it, unless a server is asked."""
    if url is not None:
        info = _one_of_server(url, name, kind)
    else:
        info = _catalogue(file, imports=True).show(name, kind, load=True)
    click.echo(document(asdict(info)) if as_json else "\n".join(shown(info)))


@plugins.command()
@click.argument("what", metavar="[NAME|FOLDER]", required=False)
@_KIND
@FILE
@_JSON
def check(what: str | None, kind: str | None, file: Path | None, as_json: bool) -> None:  # click's signature
    """Import each plugin in a process of its own, for at most 5 s; exit 1 where one fails.

    NAME: that one alone. FOLDER: a plugin's sources, before they are published: metadata, contract, README and suite;
    what the suite said is recorded beside the module.
    """
    if what is not None and Path(what).is_dir():
        _check_folder(Path(what), as_json=as_json)
        return
    found = _probed(_catalogue(file, imports=True), what, kind)
    click.echo(_json(found) if as_json else "\n".join(listed(found)))
    if any(info.state in ILL for info in found):
        click.get_current_context().exit(1)


@plugins.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="fedk.lock", show_default=True)
@FILE
def freeze(output: Path, file: Path | None) -> None:
    """Write distribution, version and hash of every plugin, for plugins.lock. `-o -` prints it."""
    from fedk.catalogue.lock import written

    locked = _catalogue(file).freeze()
    text = written(locked, output.name)
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    output.write_text(text, "utf-8")
    click.echo(f'{output}: {len(locked)} distributions. Enforce it:  [plugins] lock = "{output}"')


@plugins.command()
@click.argument("kind")
@click.argument("name")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="Where to write it."
)
@click.option("--author", default="", help="For the license: whose it is.")
@click.option(
    "--license",
    "license_",
    default="Apache-2.0",
    show_default=True,
    help="Or MIT, BSD-3-Clause, LicenseRef-Proprietary.",
)
def new(kind: str, name: str, folder: Path, author: str, license_: str) -> None:
    """Write a complete distribution for a plugin of KIND (aggregator, balancer, storage, db, codec, hook) called NAME."""
    from fedk.cli.scaffold import LICENSES, NAME, Scaffold

    _one_of(kind, KINDS, "kind of plugin")
    _one_of(license_, LICENSES, "license")
    name = name.removeprefix("fedk-plugin-")
    if not NAME.fullmatch(name):
        raise click.UsageError(
            f'"{name}" is no name: lower-case letters, digits and single dashes, for example my-yogi'
        )
    root = Scaffold(kind, name, author, license_).write(folder)
    click.echo(f"{root}\nnext  cd {root} && pytest -q     then  fedk plugins check .")


def _one_of(given: str, choices: Any, what: str) -> None:
    from fedk.api.suggestion import did_you_mean

    if given not in choices:
        raise click.UsageError(f'"{given}" is no {what}: {", ".join(choices)}.{did_you_mean(given, choices)}')


def _json(found: Sequence[PluginInfo]) -> str:
    return document([asdict(info) for info in found])


def _catalogue(file: Path | None, *, imports: bool = False) -> Catalogue:
    """What is installed, as the configuration selects it; a configuration with mistakes is no reason to show nothing."""
    found = load(file, os.environ)
    if found.mistakes:
        click.echo(f"{found.file or 'environment'} has mistakes: fedk config check", err=True)
    chosen = found.settings.plugins
    catalogue = Catalogue.scan(disabled=chosen.disabled, allow=chosen.allow)
    if imports:
        catalogue.enforce(chosen.lock)
    for kind, section in found.drivers.items():
        catalogue.ask(kind, section["use"])
    for use in chosen.hooks:
        catalogue.ask("hook", use)
    return catalogue


def _of(url: str) -> list[PluginInfo]:
    """What a running server says."""
    from fedk.cli.rest import Address, ask

    found = ask(Address(url, None, "default"), "plugins")["plugins"]
    return [PluginInfo(**{**one, "hooks": tuple(one["hooks"])}) for one in found]


def _one_of_server(url: str, name: str, kind: str | None) -> PluginInfo:
    from fedk.api.errors import Conflict, NotFound
    from fedk.api.suggestion import did_you_mean

    among = [info for info in _of(url) if kind in (None, info.kind)]
    found = [info for info in among if name in (info.name, f"{info.distribution}:{info.name}")]
    if not found:
        raise NotFound(f'the server has no plugin "{name}".{did_you_mean(name, {info.name for info in among})}')
    if len(found) > 1:
        choices = ", ".join(f"--kind {info.kind} {info.distribution}:{info.name}" for info in found)
        raise Conflict(f'"{name}" may be any of  {choices}: name one')
    return found[0]


def _probed(catalogue: Catalogue, name: str | None, kind: str | None) -> list[PluginInfo]:
    """All, or one, after an import apart."""
    from fedk.catalogue.probe import probe

    named = catalogue.show(name, kind) if name is not None else None
    infos = catalogue.entries() if named is None else [named]
    usable = {(entry.kind, entry.full_name): entry for entry in catalogue.usable()}

    def probed(info: PluginInfo) -> PluginInfo:
        entry = usable.get((info.kind, f"{info.distribution}:{info.name}"))
        return probe(entry, info) if entry is not None else info

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(probed, infos))


def _check_folder(root: Path, *, as_json: bool) -> None:
    from fedk.cli.distribution import Folder

    found = []
    for finding in Folder(root).check():
        found.append(finding)
        if not as_json:
            mark = "ok" if finding.well else "WRONG"
            click.echo(f"{finding.subject:<9} {mark:<6} {finding.text}")
    if as_json:
        click.echo(document([asdict(finding) for finding in found]))
    if not all(finding.well for finding in found):
        click.get_current_context().exit(1)
