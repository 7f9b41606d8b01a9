"""The environment of processes that run others' code: what fedk sets for itself is not theirs."""

import os

_own: set[str] = set()


def keep(name: str, value: str) -> None:
    """Set it for this process, unless who started it has."""
    if name not in os.environ:
        os.environ[name] = value
        _own.add(name)


def inherited() -> dict[str, str]:
    """As who started this process has made it."""
    return {name: value for name, value in os.environ.items() if name not in _own}
