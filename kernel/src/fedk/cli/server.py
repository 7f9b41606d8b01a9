"""`fedk server`: serve until a signal."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fedk.app import Combiner, Server


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Default: ./fedk.toml, where there is one.")
@click.pass_context
def server(ctx: click.Context, config: Path | None) -> None:
    """Serve clients and sessions until SIGTERM or Ctrl-C.

    The first signal gives no new task, takes answers under way for 10 s and exits with 0; a second one exits at once.
    """
    from fedk import log
    from fedk.cli import descriptors, garbage
    from fedk.cli.config import checked

    found, catalogue = checked(config)
    from fedk.app import server as of_its_role  # all rooms: a wrong configuration is told before they are imported
    from fedk_protocol import heap

    settings = found.settings
    log.configure(settings.log.level, settings.log.format)
    if settings.server.exposed:
        click.echo(
            f"warning: {', '.join(settings.server.exposed)} can be reached from other machines, without TLS and tokens "
            "(server.insecure = true)",
            err=True,
        )
    descriptors.allow()
    garbage.spare()
    heap.keep(shared=True)
    ctx.exit(asyncio.run(_serve(of_its_role(settings, catalogue))))


async def _serve(server: "Server | Combiner") -> int:
    await server.start()
    ended = asyncio.Event()
    _on_signals(ended)
    print(server.banner(), flush=True)  # noqa: T201  # the one line on stdout that people and scripts wait for
    waiting: asyncio.Future[Any] = asyncio.ensure_future(ended.wait())
    broken = server.broken
    await asyncio.wait({waiting, broken}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not broken.done():
        await server.drain()
    await server.close()
    if broken.done():
        broken.result()
    return 0


def _on_signals(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def first_or_second() -> None:
        if ended.is_set():
            sys.stderr.flush()
            os._exit(130)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first_or_second)
