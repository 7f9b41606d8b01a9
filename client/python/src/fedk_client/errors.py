"""Every exception that fedk_client raises on purpose.

ClientError               anything below but TaskCancelled; its text names thing, reason, choices and next step
├── LoadError             FILE:APP cannot be loaded (exit 2: wrong usage, 1: the file's own mistake)
├── UsageError            no server has such an address, no client such a name (exit 2)
├── AppError              what the app's functions take or give does not fit; its text is safe to send
├── StateError            the state directory cannot be used, or no more results can be kept
├── TurnedAway            the server will not have this client: version, name, project
└── Superseded            a newer process joined under the same name
TaskCancelled             raised by Task.report: the server does not want this task any more
"""


class ClientError(Exception):
    """Base of the library's own errors: a sentence for a person, no traceback needed."""

    exit_code = 1


class LoadError(ClientError):
    """FILE:APP names no usable app."""

    def __init__(self, text: str, *, exit_code: int = 2) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageError(ClientError):
    """An address or a name that cannot be one."""

    exit_code = 2


class AppError(ClientError):
    """The app does not fit its model, its task or this library. Quotes names, shapes and settings, never data."""


class StateError(ClientError):
    """The state directory cannot be read or written, or no more results can be kept."""


class TurnedAway(ClientError):
    """The server will not have this client, now or later; `reason` is a code of the protocol's table."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Superseded(ClientError):
    """A newer process has joined under this client's name."""


class TaskCancelled(Exception):
    """The server does not want this task any more: stop working on it. An answer would be dropped."""
