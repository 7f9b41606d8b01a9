"""Join a federation: train on your own data, send updates, nothing else leaves."""

from fedk_client.app import ClientApp
from fedk_client.task import Client, Task, TaskCancelled, Update, Validation
from fedk_client.version import __version__

__all__ = ["Client", "ClientApp", "Task", "TaskCancelled", "Update", "Validation", "__version__"]
