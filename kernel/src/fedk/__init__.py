"""The federated-learning microkernel."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedk.local.notebook import run as run

__all__ = ["__version__", "run"]


def __getattr__(name: str) -> Any:
    """`fedk.run` is imported when it is asked for: it brings the whole server."""
    if name == "run":
        from fedk.local.notebook import run  # noqa: PLC0415  # as said above

        return run
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # 36 ms that most commands do without

        return version("fedk")
    raise AttributeError(f"module 'fedk' has no attribute '{name}'")
