"""A bad line between a client and its server: slow, or dead without having ended."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

PIECE = 16 * 2**10


class Proxy:
    """Forwards bytes to `target`, or where `lead` says. A frozen connection forwards nothing more, and neither end hears of the other's end."""

    def __init__(self, target: str = "", *, bytes_a_second: float = 0.0) -> None:
        self._target, self._rate = ("", 0), bytes_a_second
        if target:
            self.lead(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[Link] = []
        self._limit: int | None = None
        self.frozen_at: threading.Event = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lead(self, target: str) -> None:
        """New connections to there."""
        host, _, port = target.rpartition(":")
        self._target = host, int(port)

    @property
    def listen(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def sent(self) -> list[int]:
        """Bytes to the target, by connection."""
        return [link.sent for link in self._links]

    def freeze(self) -> None:
        """The connections that there are."""
        for link in self._links:
            link.frozen = True

    def freeze_after(self, size: int) -> None:
        """The next connection that brings so many bytes to the server, all at once; `frozen_at` says when."""
        self._limit = size

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                self._open(near)

    def _open(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()  # refused, as without this proxy
            return
        link = Link(near, far)
        self._links.append(link)
        for source, sink, up in ((near, far, True), (far, near, False)):
            self._threads.append(threading.Thread(target=self._pump, args=(link, source, sink, up), daemon=True))
            self._threads[-1].start()

    def _pump(self, link: "Link", source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):  # one side is closed
            while data := source.recv(PIECE):
                if self._rate:
                    time.sleep(len(data) / self._rate)  # the slowness itself
                if up:
                    self._count(link, len(data))
                if link.frozen:
                    continue  # lost on the way
                sink.sendall(data)
        if not link.frozen:
            link.close()

    def _count(self, link: "Link", size: int) -> None:
        link.sent += size
        if self._limit is not None and link.sent > self._limit:
            self._limit, link.frozen = None, True
            self.frozen_at.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for link in self._links:
            link.close()
        for thread in self._threads:
            thread.join()
        for link in self._links:
            link.forget()


class Link:
    """One connection of a client, and the one that it goes on over."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self.frozen, self.sent = False, 0

    def close(self) -> None:
        """Both ends hear of it."""
        for end in self._ends:
            with contextlib.suppress(OSError):  # over already
                end.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        for end in self._ends:
            end.close()
