"""What the server may know of an exception in user code: its type and place. Texts quote data and stay here."""

import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

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


def trace(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """For a log's `exc_info`: from where user code begins; what called it is of no help to its author."""
    found = error.__traceback__
    while found is not None and not _is_users(found.tb_frame.f_code.co_filename, found.tb_frame.f_code.co_name):
        found = found.tb_next
    return type(error), error, found or error.__traceback__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename, frame.name)]
    deepest = next(reversed(own or frames), None)
    return f" at {Path(deepest.filename).name}:{deepest.lineno}" if deepest else ""


def _is_users(filename: str, function: str) -> bool:
    generated = (filename, function) == ("<string>", "__init__")  # a dataclass's, for example that of Update
    return not (generated or filename.startswith(_FOREIGN)) and _INSTALLED.isdisjoint(Path(filename).parts)
