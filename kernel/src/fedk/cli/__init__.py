"""`fedk`: one file for each noun, imported when it is asked for."""

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from fedk.api.errors import ConfigError, FedkError
from fedk.api.printable import printable
from fedk.local import environment

NOUNS = {
    "run": "A whole federation on this machine, from one file.",
    "server": "Serve clients and sessions until a signal.",
    "session": "Start, list, show, watch, pause, resume, stop.",
    "model": "List, show, put, get; the trail of a session.",
    "client": "Who is there, and what they do.",
    "combiner": "List, show, drain, rebalance.",
    "plugins": "What is installed, in which state, and why.",
    "config": "Check it, show what is in force, print an example.",
    "db": "Upgrade, check.",
}
INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Nouns(click.Group):
    """A noun `x` is the command `x` of the module `fedk.cli.x`; listing the nouns imports none.

    Any other noun may be a plugin's: those that the configuration enables are asked.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*NOUNS, *_added()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NOUNS:
            return _added().get(cmd_name)
        command: click.Command = getattr(import_module(f"fedk.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))
        if more := _added():
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in more.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in NOUNS and not args[0].startswith("-") and args[0] not in _added():
            raise click.NoSuchCommand(args[0], possibilities=[*NOUNS, *_added()], ctx=ctx)
        return super().resolve_command(ctx, args)


def _added() -> Mapping[str, click.Command]:
    if "FEDK_PLUGINS__HOOKS" not in os.environ and not os.path.isfile("fedk.toml"):  # noqa: PTH113  # pathlib costs 5 ms
        return {}  # nothing can be enabled: what reads configurations is not imported
    from fedk.cli.added import added

    return added()


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # click's signature
    if asked:
        from importlib.metadata import version

        click.echo(f"fedk {version('fedk')}")
        ctx.exit()


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print it.")
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere in the line.")
def fedk(debug: bool) -> None:  # main looks for it, wherever it stands
    """Federated learning: data stays with the clients, models travel."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 78 bad configuration, 130 interrupted."""
    _open_streams()
    # pydantic would load what any distribution claims to add to it, and one broken entry point ended every command
    environment.keep("PYDANTIC_DISABLE_PLUGINS", "__all__")
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run([word for word in given if word != "--debug"], debug="--debug" in given))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = fedk.main(arguments, prog_name="fedk", standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(_usage(error), err=True)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:  # `fedk … | head`: nobody reads on
        _drop_stdout()
        return 1
    except FedkError as error:
        return _failed(error, _screen(error), error.exit_code, debug=debug)
    except OSError as error:
        return _failed(error, _of_the_system(error), 1, debug=debug)
    except Exception as error:  # noqa: BLE001  # the last frame: people see one screen, whatever went wrong
        text = (
            f"fedk: {type(error).__name__}: {error}\n      This is a fault of fedk. Again with --debug it shows where."
        )
        return _failed(error, text, 1, debug=debug)
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """A stream that was closed leads nowhere; else its number would be the next file's. What it cannot encode is escaped."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115  # for good
        elif isinstance(stream, io.TextIOWrapper) and name == "stdout":
            stream.reconfigure(errors="backslashreplace")  # as stderr does by itself


def _drop_stdout() -> None:
    """The interpreter must not flush once more what nobody takes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "fedk"
    return f"fedk: {error.format_message()}\n      {path} --help  shows what there is."


def _screen(error: FedkError) -> str:
    """Of a configuration the mistakes stand in a table; any other error is one paragraph."""
    if isinstance(error, ConfigError) and error.mistakes:
        return printable(str(error), keep="\n")
    return "fedk: " + printable(str(error), keep="\n").replace("\n", "\n      ")


def _of_the_system(error: OSError) -> str:
    if error.errno in _FULL and error.filename is None:
        _drop_stdout()
        return f"fedk: stdout cannot be written: {error.strerror}"
    what = printable(str(error.filename)) if error.filename else type(error).__name__
    return f"fedk: {what}: {error.strerror or error}"


def _failed(error: Exception, text: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback  # 13 ms that a command which goes well does without

        traceback.print_exception(error)
    click.echo(text, err=True)
    return code
