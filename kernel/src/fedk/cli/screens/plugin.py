"""Plugins on a terminal: a list, one, what a check found."""

import shutil
import sys
from collections.abc import Iterator, Sequence

from fedk.api.columns import columns
from fedk.api.printable import printable
from fedk.catalogue import PluginInfo
from fedk.catalogue.key import keys
from fedk.catalogue.plugin import ILL, conformed, used


def listed(found: Sequence[PluginInfo]) -> Iterator[str]:
    """A row each, and who needs attention."""
    header = ("kind", "name", "state", "distribution", "summary")
    rows = [(i.kind, i.name, i.state, f"{i.distribution} {i.version}".strip(), i.error or i.summary) for i in found]
    yield from (fitted(line) for line in columns([header, *(list(map(printable, row)) for row in rows)], gap=2))
    ill = [info.name for info in found if info.state in ILL]
    attention = f", {len(ill)} need attention: fedk plugins show {printable(' | '.join(ill))}" if ill else ""
    yield f"{len(found)} plugins{attention}"


def fitted(line: str) -> str:
    """On a terminal a row is one line; a pipe gets it whole."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def shown(info: PluginInfo) -> list[str]:
    """All that is known of one."""
    return [printable(line) for line in _shown(info)]


def _shown(info: PluginInfo) -> Iterator[str]:
    facts = (f"{info.distribution} {info.version}".strip(), info.license, info.requires)
    yield f"{info.kind} {info.name}   {info.state}   {', '.join(filter(None, facts))}".rstrip()
    yield from (f"  {line}" for line in (info.summary, info.file) if line)
    if info.error:
        yield f"  why   {info.error}"
    if info.hint:
        yield f"  next  {info.hint}"
    if info.import_ms is not None:
        yield f"  imported in {info.import_ms:g} ms{_calls(info)}"
    if info.hooks:
        yield f"  hooks: {', '.join(info.hooks)}"
    table = [(key.name, key.default, key.allowed, key.meaning) for key in keys(info.config_schema or {})]
    if table:
        yield from (f"  {line}" for line in columns([("key", "default", "allowed", "meaning"), *table], gap=2))
    if used(info):
        yield f"  use it:  {used(info)}"
    if info.conformance is not None:
        yield f"  conformance {conformed(info)}"


def _calls(info: PluginInfo) -> str:
    if not info.calls:
        return ""
    failed = f", {info.failures} failed" if info.failures else ""
    return f", {info.calls} calls of {info.seconds / info.calls * 1000:.3g} ms{failed}"
