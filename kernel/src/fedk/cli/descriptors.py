"""File descriptors: each connection has one, and a server without any can neither answer nor write results down."""

import resource
from contextlib import suppress

WANTED = 65_536
"""Far more than clients and files need; below it whoever only opens connections could take them all."""


def allow() -> int:
    """Let this process have as many as it may, at most WANTED: the usual limit of 1,024 is for programs with select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
