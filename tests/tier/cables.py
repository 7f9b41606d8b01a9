"""Hosts in network namespaces, and the cables between them, which can be cut and healed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

NAMES = "fedk-test"
NAMESPACES = Path("/run/netns")


def obstacle() -> str:
    """What is missing here; empty where nothing is."""
    if shutil.which("ip") is None:
        return "needs the command ip of iproute2, which is not installed"
    probe = f"{NAMES}-{os.getpid()}-probe"
    made = ip("netns", "add", probe, check=False)
    if made.returncode:
        return f"needs CAP_NET_ADMIN and CAP_SYS_ADMIN for network namespaces: {made.stderr.strip()}"
    bridged = ip("-n", probe, "link", "add", "probe", "type", "bridge", check=False)
    ip("netns", "del", probe)
    return f"needs bridges: {bridged.stderr.strip()}" if bridged.returncode else ""


def ip(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done


class Cables:
    """Switches, each a bridge in a namespace of its own, and hosts with a cable to some of them.

    On the n-th switch (1, 2, …) the m-th host has the address 10.n.0.m. Nothing is made in this process's own namespace.
    """

    def __init__(self, *switches: str) -> None:
        self._switches = list(switches)
        self._hosts: list[str] = []

    def __enter__(self) -> Self:
        _sweep()
        try:
            for switch in self._switches:
                self._add(switch)
                ip("-n", self._space(switch), "link", "add", "switch", "type", "bridge")
                ip("-n", self._space(switch), "link", "set", "switch", "up")
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def host(self, name: str) -> None:
        """A host with a cable to each switch."""
        self._hosts.append(name)
        self._add(name)
        ip("-n", self._space(name), "link", "set", "lo", "up")
        for switch in self._switches:
            self._plug(name, switch)

    def address(self, name: str, switch: str) -> str:
        return f"10.{self._switches.index(switch) + 1}.0.{self._hosts.index(name) + 1}"

    def within(self, name: str) -> Sequence[str]:
        """What runs a command on a host."""
        return ("ip", "netns", "exec", self._space(name))

    def cut(self, name: str, switch: str) -> None:
        """Nothing passes any more, and neither end is told."""
        ip("-n", self._space(switch), "link", "set", self._port(name), "down")

    def heal(self, name: str, switch: str) -> None:
        ip("-n", self._space(switch), "link", "set", self._port(name), "up")

    def _plug(self, name: str, switch: str) -> None:
        there, here, port = self._space(switch), self._space(name), self._port(name)
        ip("-n", there, "link", "add", port, "type", "veth", "peer", "name", switch, "netns", here)
        ip("-n", there, "link", "set", port, "master", "switch", "up")
        ip("-n", here, "address", "add", f"{self.address(name, switch)}/24", "dev", switch)
        ip("-n", here, "link", "set", switch, "up")

    def _port(self, name: str) -> str:
        return f"port{self._hosts.index(name)}"

    def _space(self, name: str) -> str:
        return f"{NAMES}-{os.getpid()}-{name}"

    def _add(self, name: str) -> None:
        ip("netns", "add", self._space(name))

    def _clear(self) -> None:
        for space in _spaces():
            if int(space.split("-")[2]) == os.getpid():
                ip("netns", "del", space)


def _sweep() -> None:
    """What processes that were killed have left."""
    for space in _spaces():
        if not Path(f"/proc/{space.split('-')[2]}").exists():
            ip("netns", "del", space)


def _spaces() -> list[str]:
    return [path.name for path in NAMESPACES.glob(f"{NAMES}-*")]
