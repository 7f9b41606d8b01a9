"""What the server may know of an exception in user code: its type and place. Texts quote data and stay here."""

import sysconfig
import traceback
from pathlib import Path

from fedk_client.errors import AppError
from fedk_protocol.codec import BadBlob

_FOREIGN = (*map(sysconfig.get_path, ("stdlib", "platstdlib")), str(Path(__file__).parent), "<frozen")
_INSTALLED = {"site-packages", "dist-packages"}
_OWN_TEXTS = (AppError, BadBlob)  # they quote names, shapes and settings, never data


def describe(error: BaseException, *, share: bool) -> str:
    """`ValueError at client.py:21`, with its text where it is shared, or is fedk's own sentence."""
    if isinstance(error, _OWN_TEXTS):
        return str(error)
    place = f"{type(error).__name__}{_place(error)}"
    return f"{place}: {error}" if share and str(error) else place


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    deepest = next(reversed(own or frames), None)
    return f" at {Path(deepest.filename).name}:{deepest.lineno}" if deepest else ""


def _is_users(filename: str) -> bool:
    return not filename.startswith(_FOREIGN) and _INSTALLED.isdisjoint(Path(filename).parts)
