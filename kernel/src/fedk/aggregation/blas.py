"""One BLAS thread while matrices are multiplied here: threads that spin make every other pass on the machine slow."""

from threading import Lock
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController


class OneThread:
    """The number of threads is one of the whole process: the first who enters sets it, the last who leaves resets it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limited: Any = None  # threadpoolctl has no public name for it

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limited = ThreadpoolController().limit(limits=1, user_api="blas")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limited.restore_original_limits()


ONE_THREAD = OneThread()
