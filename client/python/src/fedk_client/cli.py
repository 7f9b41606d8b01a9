"""`fedk-client run` and `fedk-client check`."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from fedk_client import leash
from fedk_client.dryrun import DryRun
from fedk_client.errors import ClientError
from fedk_client.failure import describe, trace
from fedk_client.journal import on_stderr
from fedk_client.loading import load
from fedk_client.task import Client
from fedk_client.version import __version__
from fedk_protocol import heap

INTERRUPTED = 130

log = logging.getLogger("fedk_client")


class Part(click.ParamType[tuple[int, int]]):
    """I/N: the I-th of N parts, counted from 0."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        part, _, parts = str(value).partition("/")
        if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
            self.fail(f'"{value}" wants I/N with I from 0 to N-1, for example 0/5', param, ctx)
        return int(part), int(parts)


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f'"{value}" wants KEY=VALUE', param, ctx)
        return key, text


_part = click.option("--part", type=Part(), default="0/1", help="Which part of the data is this client's.")
_option = click.option("--option", "options", type=Pair(), multiple=True, help="Client.options; never sent.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fedk-client", message="%(prog)s %(version)s")
def fedk_client() -> None:
    """Join a federation with the ClientApp of a Python file."""


@fedk_client.command()
@click.argument("app")
@click.option("--server", required=True, metavar="HOST:PORT", help="Where the server listens for clients.")
@click.option("--name", required=True, help="This client's name, its own in the project.")
@_part
@_option
@click.option("--attribute", "attributes", type=Pair(), multiple=True, help="Client.attributes; public at the server.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Keeps results through a restart.")
@click.option("--project", default="default", show_default=True)
@click.option("--share-errors", is_flag=True, help="Send the text of exceptions too; it may quote data.")
@click.option("--end-with-stdin", is_flag=True, help="End when standard input does: with whoever started this.")
def run(
    *,
    app: str,
    server: str,
    name: str,
    part: tuple[int, int],
    options: Sequence[tuple[str, str]],
    attributes: Sequence[tuple[str, str]],
    state: Path | None,
    project: str,
    share_errors: bool,
    end_with_stdin: bool,
) -> None:
    """Work for a server until a signal. APP is FILE:APP."""
    if end_with_stdin:
        leash.end_with_stdin()
    heap.keep()
    load(app).run(
        server,
        name=name,
        part=part[0],
        parts=part[1],
        options=dict(options),
        attributes=dict(attributes),
        state=state,
        project=project,
        share_errors=share_errors,
    )


@fedk_client.command()
@click.argument("app")
@_part
@click.option("--set", "settings", type=Pair(), multiple=True, help="A setting, as the session would send it.")
@_option
@click.option("--name", default="check", show_default=True)
@click.option("--seed", default=0, show_default=True)
def check(
    *,
    app: str,
    part: tuple[int, int],
    settings: Sequence[tuple[str, str]],
    options: Sequence[tuple[str, str]],
    name: str,
    seed: int,
) -> int:
    """Train and validate once without a server. APP is FILE:APP."""
    client = Client(name, *part, options=dict(options))
    values = {key: _value(text) for key, text in settings}
    dry = DryRun(load(app), client, json.dumps(values), seed)
    for line in dry.lines():
        click.echo(line)
    if dry.faults:
        click.echo(f"a server would refuse this: {'; '.join(dry.faults)}", err=True)
        return 1
    click.echo(f"next      fedk run {app} --clients {part[1] if part[1] > 1 else 5} --rounds 20")
    return 0


def _value(text: str) -> object:
    """2 is a number, true a bool, all that is no JSON a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    with on_stderr():
        sys.exit(_run(lambda: fedk_client.main(arguments, prog_name="fedk-client", standalone_mode=False)))


def _run(command: Callable[[], object]) -> int:
    try:
        code = command()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else "fedk-client"
        return _failed(f"{error.format_message()}\n{path} --help  shows what there is.", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except ClientError as error:
        return _failed(str(error), error.exit_code)
    except Exception as error:  # model() and data() are user code, and may raise anything
        log.error("user code raised", exc_info=trace(error))  # noqa: TRY400 — its frames
        return _failed(describe(error, share=True), 1)
    return code if isinstance(code, int) else 0


def _failed(text: str, code: int) -> int:
    indented = text.replace("\n", "\n      ")
    click.echo(f"fedk-client: {indented}", err=True)
    return code
