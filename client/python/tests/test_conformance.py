"""The protocol's own suite for clients, with this library."""

import pytest

from fedk.testing.protocol.suite import ClientSuite, Start
from fedk_client import ClientApp, Task, Update
from fedk_client.errors import ClientError
from fedk_client.running import Running
from fedk_protocol.codec import Arrays


class Box:
    """A model of any tensors."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}


def echo() -> ClientApp[Box, None]:
    def load(box: Box, arrays: Arrays) -> None:
        box.arrays = arrays

    app = ClientApp(model=Box, dump=lambda box: box.arrays, load=load)

    @app.train
    def train(box: Box, task: Task[None]) -> Update:
        return Update(box, num_examples=1, metrics={"steps": 1.0}, sets=task.sent)

    return app


class Started:
    """The suite's view of a client in a thread: stop and wait raise nothing."""

    def __init__(self, running: Running[Box, None]) -> None:
        self._running, self.wait = running, running.wait

    def stop(self) -> None:
        try:
            self._running.stop()
        except ClientError:
            self.wait()  # turned away or superseded, as that test wants


class TestThisLibrary(ClientSuite):
    @pytest.fixture
    def start(self) -> Start:
        return lambda address, name: Started(echo().start(address, name=name))
