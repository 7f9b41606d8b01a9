"""`fedk model`: list, show, put, get; the trail of a session."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from fedk.cli.document import document
from fedk.cli.progress import progress
from fedk.cli.rest import JSON, Address, Rest, ask, asked, asking

_REF = click.argument("ref", default="latest", metavar="[MODEL]")


@click.group()
def model() -> None:
    """Models: SESSION/ROUND, a session's name for its newest, an id, a hash; without one: the latest."""


@model.command("list")
@click.option("--session", metavar="SESSION", help="Only those of one session.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="The newest so many.")
@JSON
@asking
def list_(at: Address, session: str | None, limit: int, as_json: bool) -> None:
    """The newest models."""
    from fedk.cli.screens.model import listed

    found = ask(at, "models", session=session, limit=limit)
    click.echo(document(found["models"]) if as_json else "\n".join(listed(found["models"], at.flags)))


@model.command()
@_REF
@JSON
@asking
def show(at: Address, ref: str, as_json: bool) -> None:
    """One model with its tensors."""
    from fedk.cli.screens.model import shown

    found = ask(at, "models", ref)
    click.echo(document(found) if as_json else "\n".join(shown(found, at.flags)))


@model.command()
@click.argument("file", type=click.Path(path_type=Path))
@JSON
@asking
def put(at: Address, file: Path, as_json: bool) -> None:
    """Upload FILE, a safetensors file, for sessions to start from."""
    from fedk.cli import initial
    from fedk.cli.screens import model as screen

    async def sent() -> Any:
        async with asked(at) as rest:
            return await initial.put(rest, file)

    found = asyncio.run(sent())
    click.echo(document(found) if as_json else screen.put(found))


@model.command()
@_REF
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A file, or the folder of it. Else MODEL.safetensors, here."
)
@click.option("--force", is_flag=True, help="Replace the file where there is one.")
@JSON
@asking
def get(at: Address, ref: str, output: Path | None, force: bool, as_json: bool) -> None:
    """Write a model into a file: whole, with its hash checked, or not at all."""
    from fedk.cli.download import fetched
    from fedk.cli.screens.model import got

    found, file = asyncio.run(fetched(at, ref, output, force=force))
    click.echo(document({**found, "file": str(file)}) if as_json else got(found, str(file)))


@model.command()
@click.argument("session", default="latest", metavar="[SESSION]")
@click.option("--round", "no", type=click.IntRange(0), help="One model, with every update and refusal.")
@click.option("--verify", is_flag=True, help="Hash each model's bytes, compute each digest, make each model again.")
@JSON
@asking
@click.pass_context
def trail(ctx: click.Context, at: Address, session: str, no: int | None, verify: bool, as_json: bool) -> None:
    """A session's models in their order: parents, contributors, who was left out and why. Exit 1 where it is broken."""
    from fedk.cli.screens.model import link, troubles
    from fedk.cli.screens.model import trail as screen

    found, checks = asyncio.run(_trail(at, session, no, verify=verify))
    whole = not list(troubles(found, checks))
    if as_json:
        click.echo(document({"models": found, "checks": list(checks.values()), "whole": whole}))
    else:
        click.echo("\n".join(link(found[0], checks) if no is not None else screen(found, checks)))
    ctx.exit(0 if whole else 1)


async def _trail(at: Address, session: str, no: int | None, *, verify: bool) -> tuple[list[Any], dict[str, Any]]:
    async with asked(at) as rest:
        if no is not None:
            await rest.get("models", f"{session}/{no}")  # says which rounds there are, where this is none
        found = [one async for one in _links(rest, session, no)]
        return found, await _checks(rest, found) if verify else {}


async def _checks(rest: Rest, found: list[Any]) -> dict[str, Any]:
    """One model after the other: what each takes depends on how many updates of it are kept."""
    checks = {}
    with progress("verifying") as at:
        for number, one in enumerate(found, 1):
            at(f"{one['ref']} ({number} of {len(found)})")
            checks[one["id"]] = await rest.get("models", one["id"], "check", replay="true")
    return checks


async def _links(rest: Rest, session: str, no: int | None) -> AsyncIterator[Any]:
    """Page by page; of round `no` alone, where it is given."""
    after: int | None = -1 if no is None else no - 1
    while after is not None:
        page = await rest.get("sessions", session, "trail", after=after, limit=1 if no is not None else None)
        for one in page["models"]:
            yield one
        after = page["next"] if no is None else None
