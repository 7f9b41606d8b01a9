"""Client threads of a local federation: for a notebook, where the app is an object and no file."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedk_client import ClientApp
    from fedk_client.running import Running


class Threads:
    """One thread for each client. They share this process, its modules and its memory."""

    def __init__(self, app: "ClientApp[Any, Any]") -> None:
        self._app = app
        self._running: list[Running[Any, Any]] = []

    async def start(self, server: str, names: list[str], died: Callable[[str, str], None]) -> None:
        for part, name in enumerate(names):
            start = self._app.start
            parts = len(names)
            self._running.append(
                await asyncio.to_thread(start, server, name=name, part=part, parts=parts, share_errors=True)
            )

    async def stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in self._running), return_exceptions=True)
