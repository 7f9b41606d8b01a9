"""`fedk client`: who is there, and what they do."""

import click

from fedk.cli.document import document
from fedk.cli.rest import JSON, Address, ask, asking


@click.group()
def client() -> None:
    """Who is there, and what they do."""


@client.command("list")
@JSON
@asking
def list_(at: Address, as_json: bool) -> None:
    """All clients that this project has seen."""
    from fedk.cli.screens.client import listed

    found = ask(at, "clients")
    click.echo(document(found["clients"]) if as_json else "\n".join(listed(found["clients"], at.flags)))


@client.command()
@click.argument("ref", default="latest", metavar="[CLIENT]")
@JSON
@asking
def show(at: Address, ref: str, as_json: bool) -> None:
    """One client, with how its last tasks ended."""
    from fedk.cli.screens.client import shown

    found = ask(at, "clients", ref)
    click.echo(document(found) if as_json else "\n".join(shown(found)))
