"""Every error that fedk raises on purpose.

FedkError                 anything below; its text names thing, reason, choices and next step
├── ConfigError           a file, flag or environment variable is wrong (exit 78)
├── PluginError           a plugin is missing, incompatible, ambiguous or broken (exit 78)
├── StateError            the database or the data directory cannot be used
├── BlobError             model bytes are missing or damaged
│   └── Collected         they are gone by a rule of their session
├── Refused               a client's result is not taken; carries a reason code
├── FormulaError          an aggregator's formula raised or gave non-finite values
└── NotFound, Conflict    what an admin request names does not exist, or does not allow it now
"""

from collections.abc import Sequence


class FedkError(Exception):
    """Base of every error that fedk raises on purpose."""

    exit_code = 1


class ConfigError(FedkError):
    """Mistakes of a configuration, all at once."""

    exit_code = 78

    def __init__(self, title: str, mistakes: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([title, *mistakes]))
        self.title, self.mistakes = title, tuple(mistakes)


class PluginError(FedkError):
    """A plugin that was asked for cannot be used."""

    exit_code = 78


class StateError(FedkError):
    """The database or the data directory cannot be used."""


class BlobError(FedkError):
    """Model bytes are missing, truncated or do not have their hash."""


class Collected(BlobError):
    """A model's bytes were dropped by the rule `models.keep` of its session; its row stays."""


class Refused(FedkError):
    """A client's result is not taken; `reason` is a code of the protocol's table."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class FormulaError(FedkError):
    """An aggregator's formula raised, or gave values that are not finite, on admissible input."""


class NotFound(FedkError):
    """What a request names does not exist."""


class Conflict(FedkError):
    """What a request asks is not possible in the present state."""
