"""The system's start: what is written and not synced lasts through the end of a process, and may have holes after this."""

from contextlib import suppress
from pathlib import Path

try:
    ID = Path("/proc/sys/kernel/random/boot_id").read_bytes()
except OSError:
    ID = b""  # not Linux: each process is taken for one after a start of the system


def is_of(note: Path) -> bool:
    """Whether the note was written since the system's start."""
    with suppress(OSError):
        return bool(ID) and note.read_bytes() == ID
    return False


def write(note: Path) -> None:
    """One that is not written, or torn, is of another start."""
    with suppress(OSError):
        note.write_bytes(ID)
