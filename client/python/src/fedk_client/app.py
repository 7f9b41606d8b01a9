"""ClientApp: a model, the data, what to do with them; and the ways to run it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fedk_client.adapters import adapter_of, check_same
from fedk_client.errors import AppError
from fedk_client.running import Running
from fedk_client.task import Client, Task, Update, Validation
from fedk_protocol.codec import Arrays

M = TypeVar("M")
D = TypeVar("D")


class ClientApp(Generic[M, D]):
    """One file's whole client: `app = ClientApp(model=Net, data=load)`, then `@app.train` and `@app.validate`.

    `model` is called for every task: what a task spoils is gone with it. Its first weights are the session's initial
    model. `data` is called once, before joining. `dump` and `load` are for models of unknown types; `load` writes into
    the model that it is given.
    """

    @overload
    def __init__(
        self: "ClientApp[M, None]",
        *,
        model: Callable[[], M],
        dump: Callable[[M], Arrays] | None = None,
        load: Callable[[M, Arrays], None] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        model: Callable[[], M],
        data: Callable[[Client], D],
        dump: Callable[[M], Arrays] | None = None,
        load: Callable[[M, Arrays], None] | None = None,
    ) -> None: ...
    def __init__(
        self,
        *,
        model: Callable[[], M],
        data: Callable[[Client], Any] | None = None,
        dump: Callable[[M], Arrays] | None = None,
        load: Callable[[M, Arrays], None] | None = None,
    ) -> None:
        if (dump is None) != (load is None):
            raise AppError("ClientApp takes dump= and load= together: to and from a dict of arrays")
        self.model = model
        self._data, self._dump, self._load = data, dump, load
        self._functions: dict[str, Callable[[M, Task[D]], object]] = {}  # user code by kind

    def train(self, function: Callable[[M, Task[D]], Update]) -> Callable[[M, Task[D]], Update]:
        """Decorator of the function that trains a model with the global weights on this client's data."""
        self._functions["train"] = function
        return function

    def validate(self, function: Callable[[M, Task[D]], Validation]) -> Callable[[M, Task[D]], Validation]:
        """Decorator of the function that measures a model with the global weights on this client's data."""
        self._functions["validate"] = function
        return function

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of task that this app can do."""
        return ("init", *sorted(self._functions))

    def function(self, kind: str) -> Callable[[M, Task[D]], object]:
        """User code for "train" or "validate"."""
        function = self._functions.get(kind)
        if function is None:
            raise AppError(f'this app has no function for "{kind}": it has {", ".join(self.kinds)}')
        return function

    def load_data(self, client: Client) -> D:
        """What `data` makes for this client; None without `data`."""
        return self._data(client) if self._data else None  # type: ignore[return-value]  # the overloads say D = None

    def weights(self, model: object) -> dict[str, NDArray[Any]]:
        """A model's arrays, in its framework's order; views of the model where the framework gives them."""
        if self._dump is None:
            return adapter_of(model).dump(model)
        dump: Callable[[Any], Arrays] = self._dump
        return {name: np.asarray(array) for name, array in dump(model).items()}

    def with_weights(self, arrays: Arrays) -> M:
        """A fresh model that holds these weights: `net = app.with_weights(run.model)`."""
        net = self.model()
        if self._load is not None:
            self._load(net, arrays)
            return net
        adapter = adapter_of(net)
        check_same(arrays, adapter.dump(net), whose="the weights given", others="what model() makes")
        adapter.load(net, arrays)
        return net

    def run(
        self,
        server: str,
        *,
        name: str,
        part: int = 0,
        parts: int = 1,
        options: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        state: str | Path | None = None,
        project: str = "default",
        share_errors: bool = False,
    ) -> None:
        """Join `server` (HOST:PORT) and work, user code in this thread, until SIGTERM, or an error that is raised.

        `state` is a directory that keeps results and `Task.state` through a restart; `share_errors` sends the text of
        exceptions too, which may quote data.
        """
        client = Client(name, part, parts, attributes or {}, options or {})
        Running(self, server, client, project=project, state=state, share_errors=share_errors).run()

    def start(
        self,
        server: str,
        *,
        name: str,
        part: int = 0,
        parts: int = 1,
        options: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        state: str | Path | None = None,
        project: str = "default",
        share_errors: bool = False,
    ) -> Running[M, D]:
        """Like `run`, but user code runs in a thread of its own: `with app.start(…) as client: …`, or `.stop()`."""
        client = Client(name, part, parts, attributes or {}, options or {})
        running = Running(self, server, client, project=project, state=state, share_errors=share_errors)
        running.start()
        return running
