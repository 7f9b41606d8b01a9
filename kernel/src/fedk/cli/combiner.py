"""`fedk combiner`: the aggregation servers between a root and its clients."""

import asyncio
from typing import Any

import click

from fedk.cli.document import document
from fedk.cli.rest import JSON, Address, ask, asked, asking


@click.group()
def combiner() -> None:
    """The aggregation servers between a root and its clients."""


@combiner.command("list")
@JSON
@asking
def list_(at: Address, as_json: bool) -> None:
    """All combiners that this server has seen."""
    from fedk.cli.screens.combiner import listed

    found = ask(at, "combiners")
    click.echo(document(found["combiners"]) if as_json else "\n".join(listed(found["combiners"], at.flags)))


@combiner.command()
@click.argument("name")
@JSON
@asking
def show(at: Address, name: str, as_json: bool) -> None:
    """One combiner, with its clients."""
    from fedk.cli.screens.combiner import shown

    found = ask(at, "combiners", name)
    click.echo(document(found) if as_json else "\n".join(shown(found)))


@combiner.command()
@click.argument("name")
@click.option("--wait", is_flag=True, help="Until it has no client and holds nothing. Ctrl-C leaves, it drains on.")
@JSON
@asking
def drain(at: Address, name: str, wait: bool, as_json: bool) -> None:
    """Send its clients elsewhere and take what it holds; it gets no client any more. No round is lost."""
    found = asyncio.run(_drained(at, name, wait=wait))
    if as_json:
        click.echo(document(found))
        return
    if wait:
        click.echo(f"{name} is drained: it has no client and holds nothing, and can be stopped")
        return
    where = found["parent"] or "the root"
    click.echo(f"{name} drains: {found['clients']} clients go elsewhere, {found['held']} results come to {where}")
    click.echo(f"when both are 0 it can be stopped: fedk combiner drain {name} --wait{at.flags}")


@combiner.command()
@JSON
@asking
def rebalance(at: Address, as_json: bool) -> None:
    """Send clients from servers with many to those with few."""
    found = asyncio.run(_rebalanced(at))
    click.echo(document(found) if as_json else f"{found['moved']} clients were sent to another server")


async def _drained(at: Address, name: str, *, wait: bool) -> Any:
    """Who leaves before the server has answered is not told that it drains."""
    async with asked(at) as rest:
        found = await rest.post("combiners", name, "drain")
        try:
            return await rest.post("combiners", name, "drain", wait="true") if wait else found
        except asyncio.CancelledError:
            click.echo(f"{name} drains on: fedk combiner show {name}{at.flags}", err=True)
            raise


async def _rebalanced(at: Address) -> Any:
    async with asked(at) as rest:
        return await rest.post("combiners", "rebalance")
