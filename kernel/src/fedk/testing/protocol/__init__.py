"""The protocol's two ends, scripted: a server against which any client can be run, and a client for servers.

Both speak real gRPC on loopback. A test says what this end does next and awaits what the other one does.
"""

from fedk.testing.protocol.client import ScriptedClient, kept
from fedk.testing.protocol.mailbox import PATIENCE, Mailbox, StreamEnded
from fedk.testing.protocol.server import Connection, ScriptedServer, Uploaded

__all__ = ["PATIENCE", "Connection", "Mailbox", "ScriptedClient", "ScriptedServer", "StreamEnded", "Uploaded", "kept"]
