"""A mark behind the bytes of a file that is written over: its length does not say how far it has come."""

import errno
import fcntl
import os
import struct
from contextlib import suppress

from fedk.blobs import disk

UPLOAD = ".upload"
"""Suffix of files that are written over once nobody needs nor reads them."""

_SIGN = b"fedk writes over"
"""At a mark's start: the bytes before it may be an older result's."""

_MARK = struct.Struct("<16sQ")
LENGTH = _MARK.size


def put(handle: int, size: int, got: int) -> None:
    """Behind `size` bytes: the first `got` of them are new."""
    disk.write_at(handle, _MARK.pack(_SIGN, got), size)


def progress(handle: int, size: int, *, whole: bool = False) -> tuple[int, bool]:
    """Of a result of `size` bytes those that have come into an open file, and whether a mark says so; otherwise it is the
    file's length. None where the file is longer, or its mark is of another size: they are other bytes. Neither is to be
    believed after a start of the system; a file that is known to be `whole` needs neither.
    """
    length = os.fstat(handle).st_size
    if whole and length >= size:
        return size, False
    end = os.pread(handle, LENGTH, max(0, length - LENGTH))
    if len(end) == LENGTH and end.startswith(_SIGN):
        _, got = _MARK.unpack(end)
        return (got, True) if length == size + LENGTH else (0, False)
    return (length if length <= size else 0), False


def is_read(handle: int) -> bool:
    """Whether somebody `reads` the file; True where nobody can tell. If not, nobody begins to until the handle is closed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def reads(handle: int, path: str) -> None:
    """Until the handle is closed, nobody writes over the file. FileNotFoundError where it has another name by now."""
    with suppress(OSError):  # where files cannot be locked, none is written over
        fcntl.flock(handle, fcntl.LOCK_SH)
    if not os.path.samestat(os.fstat(handle), os.stat(path)):  # noqa: PTH116  # Path.stat takes four times as long
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
