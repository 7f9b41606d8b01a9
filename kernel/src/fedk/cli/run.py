"""`fedk run`: a whole federation on this machine, from one file."""

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedk.api.errors import FedkError
from fedk.cli.assignment import Assignment

if TYPE_CHECKING:
    from fedk.local.federation import Outcome, Plan


@click.command()
@click.argument("app")
@click.option("--clients", default=2, show_default=True, type=click.IntRange(1), help="Client processes.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds to commit (default: the session file's, else 1).")
@click.option("--session", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A session file.")
@click.option(
    "--set", "settings", type=Assignment(), multiple=True, help="A rule (round.quorum=0.8), or a client setting."
)
@click.option("--option", "options", multiple=True, metavar="K=V", help="Client.options of every client.")
@click.option("--name", help="The session's name (default: the app's folder and a number).")
@click.option("--data-dir", default="fedk-data", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--resume", metavar="SESSION", help="Go on with a session of the data directory that has not ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; progress goes to stderr.")
@click.pass_context
def run(
    ctx: click.Context,
    app: str,
    clients: int,
    rounds: int | None,
    session: Path | None,
    settings: Sequence[tuple[str, Any]],
    options: Sequence[str],
    name: str | None,
    data_dir: Path,
    resume: str | None,
    as_json: bool,
) -> None:
    """Run APP (FILE:APP): an embedded server, client processes, one session, with progress.

    Client I of N is called client-I+1 and gets part I of N. Ctrl-C pauses the session and prints how to go on.
    """
    from fedk import log
    from fedk.cli.screen import Screen
    from fedk.local.federation import Plan

    check_app(app)
    log.configure("error")
    stem = Path(app.rpartition(":")[0]).resolve().parent.name or "session"
    plan = Plan(
        clients=clients,
        rules=rules_of(session, settings, rounds),
        data_dir=data_dir,
        stem=stem,
        name=name,
        resume=resume,
        changes=changes_of(settings, rounds) if resume else {},
    )
    with Screen(err=as_json, data_dir=data_dir) as screen:
        outcome, interrupted = asyncio.run(_run(plan, app, options, screen.show))
    screen.end(outcome, resume=f"fedk run {app} --clients {clients} --resume {outcome.name} --data-dir {data_dir}")
    if as_json:
        click.echo(json.dumps(outcome.document()))
    if outcome.status == "paused" and outcome.why:
        raise FedkError(outcome.why)
    ctx.exit(130 if interrupted else 0 if outcome.status == "finished" else 1)


async def _run(plan: "Plan", app: str, options: Sequence[str], show: Any) -> "tuple[Outcome, bool]":
    from fedk.cli import garbage
    from fedk.local.federation import Federation
    from fedk.local.processes import Processes
    from fedk_protocol import heap

    garbage.spare()
    heap.keep(shared=True)

    words = tuple(word for option in options for word in ("--option", option))
    federation = Federation(plan, Processes(app, plan.data_dir / "logs", words), show)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        federation.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    return await federation.run(), interrupted


def check_app(app: str) -> None:
    """FILE:APP names a file; what is in it is the clients' to say."""
    from fedk.api.suggestion import did_you_mean

    file, colon, _ = app.rpartition(":")
    path = Path(file if colon else app)
    if not path.is_file():
        folder = path.resolve().parent
        near = did_you_mean(path.name, [p.name for p in folder.glob("*.py")]) if folder.is_dir() else ""
        raise click.UsageError(f"no file {path} (in {Path.cwd()}).{near}")
    if not colon:
        raise click.UsageError(f'"{app}" wants FILE:APP, for example {app}:app')


def changes_of(settings: Sequence[tuple[str, Any]], rounds: int | None) -> dict[str, Any]:
    """What the command line changes of a session that is resumed."""
    from fedk.cli.session_file import rule

    given = {".".join(rule(key)): value for key, value in settings}
    return given | ({"rounds": rounds} if rounds is not None else {})


def rules_of(session: Path | None, settings: Sequence[tuple[str, Any]], rounds: int | None) -> Any:
    """The session's rules: the file's, with what the command line sets over them."""
    from fedk.cli.session_file import parsed, read

    document = dict(read(session).data) if session is not None else {}
    for name in ("model", "name"):
        document.pop(name, None)
    return parsed(document, settings, rounds=rounds, file=session)
