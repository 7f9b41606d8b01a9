"""Join a federation: train on your own data, send updates, nothing else leaves."""

import os

# Before grpc is imported: its fork handlers crash the children that user code forks, such as a DataLoader's workers
# (test_user_code_may_fork). The children have no use for gRPC.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "0")

from fedk_client.app import ClientApp
from fedk_client.task import Client, Task, TaskCancelled, Update, Validation
from fedk_client.version import __version__

__all__ = ["Client", "ClientApp", "Task", "TaskCancelled", "Update", "Validation", "__version__"]
