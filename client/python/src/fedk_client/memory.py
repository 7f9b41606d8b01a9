"""This machine's memory, of which a server may make a client take a part."""

import os
import sys


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows does not say
        return sys.maxsize


PHYSICAL = _physical()
"""Bytes. The system promises more than it has, and ends who takes it at its word."""
