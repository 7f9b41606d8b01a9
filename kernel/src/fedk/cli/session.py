"""`fedk session`: start, list, show, watch, pause, resume, stop."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fedk.cli.assignment import Assignment
from fedk.cli.document import document
from fedk.cli.rest import JSON, Address, Mistaken, Rest, ask, asked, asking

_REF = click.argument("ref", default="latest", metavar="[SESSION]")
_SET = click.option("--set", "settings", type=Assignment(), multiple=True, help="A rule: round.quorum=0.6.")
_EXIT = {"finished": 0, "failed": 1, "stopped": 1}


@click.group()
def session() -> None:
    """Experiments: start, list, show, watch, pause, resume, stop. Without a name: the latest."""


@session.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "settings", type=Assignment(), multiple=True, help="A rule, or a setting for clients: epochs=2.")
@click.option("--name", help="Else the file's, else its folder and a number.")
@JSON
@asking
def start(at: Address, file: Path, settings: Sequence[tuple[str, Any]], name: str | None, as_json: bool) -> None:
    """Start a session from FILE, a session file. Its initial model is built here and uploaded."""
    from fedk.cli.screens.session import begun

    found, model, clients = asyncio.run(_started(at, file, settings, name))
    click.echo(document(found) if as_json else begun(found, model, clients, at.flags))


@session.command("list")
@JSON
@asking
def list_(at: Address, as_json: bool) -> None:
    """All sessions, newest first."""
    from fedk.cli.screens.session import listed

    found = ask(at, "sessions")
    click.echo(document(found["sessions"]) if as_json else "\n".join(listed(found["sessions"], at.flags)))


@session.command()
@_REF
@JSON
@asking
def show(at: Address, ref: str, as_json: bool) -> None:
    """Where one session stands, what it waits for, why it failed, and what to do."""
    from fedk.cli.screens.session import shown

    found = ask(at, "sessions", ref)
    click.echo(document(found) if as_json else "\n".join(shown(found, at.flags, data_dir=at.data_dir)))


@session.command()
@_REF
@click.option("--json", "as_json", is_flag=True, help="One event a line.")
@asking
@click.pass_context
def watch(ctx: click.Context, at: Address, ref: str, as_json: bool) -> None:
    """Follow one session until it has ended. Ctrl-C leaves; the session goes on."""
    from fedk.cli.watch import watched

    status = asyncio.run(watched(at, ref, as_json=as_json))
    ctx.exit(_EXIT.get(status, 130))


@session.command()
@_REF
@JSON
@asking
def pause(at: Address, ref: str, as_json: bool) -> None:
    """Ask nothing more of clients; what they answer is still taken."""
    _steer(at, ref, "pause", as_json=as_json)


@session.command()
@_REF
@_SET
@JSON
@asking
def resume(at: Address, ref: str, settings: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """Let a paused or failed session go on, with changed rules where --set names some."""
    from fedk.cli.session_file import changes

    _steer(at, ref, "resume", {"changes": changes(settings)}, as_json=as_json)


@session.command()
@_REF
@JSON
@asking
def stop(at: Address, ref: str, as_json: bool) -> None:
    """End a session for good. Its models stay."""
    _steer(at, ref, "stop", as_json=as_json)


async def _started(at: Address, path: Path, settings: Sequence[tuple[str, Any]], name: str | None) -> tuple[Any, ...]:
    """The session's document, what its initial model is, the clients that are there."""
    from fedk.cli import initial, session_file

    file = session_file.read(path, [*settings, *([("name", name)] if name is not None else [])])
    body = {"stem": file.stem, **file.data}
    async with asked(at) as rest:
        async with initial.file_of(body.get("model"), file.folder) as bytes_:
            try:
                await rest.post("sessions", body=body if bytes_ is None else {**body, "model": None}, check="true")
                model = await _put(rest, bytes_, body)
                found = await rest.post("sessions", body=body)
            except Mistaken as error:
                raise file.error(error.found) from error
        clients = await rest.get("clients")
        return found, model, clients["clients"]


async def _put(rest: Rest, file: Path | None, body: dict[str, Any]) -> str:
    """Upload the initial model where it is a file; the body then has its id. Returns what to say of it."""
    from fedk.cli import initial, quantity

    given = body.get("model")
    if file is None:
        return f"initial model {given}" if given else "initial model asked of a client"
    put = await initial.put(rest, file)
    body["model"] = put["id"]
    return f"initial model from {given} ({quantity.size(put['bytes'])})"


def _steer(at: Address, ref: str, verb: str, body: Any = None, *, as_json: bool) -> None:
    from fedk.cli.screens.session import steered

    async def posted() -> Any:
        async with asked(at) as rest:
            return await rest.post("sessions", ref, verb, body=body)

    found = asyncio.run(posted())
    click.echo(document(found) if as_json else steered(found, at.flags))
