"""`fedk.run(app, clients=5, rounds=20)`: a federation from a notebook or a script."""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fedk.api.codec import Arrays, Safetensors
from fedk.api.errors import ConfigError, FedkError
from fedk.api.mistake import mistakes
from fedk.local.federation import Federation, Outcome, Plan, Show
from fedk.local.threads import Threads
from fedk.rounds.rules import Rules

if TYPE_CHECKING:
    from fedk_client import ClientApp


@dataclass(frozen=True, slots=True)
class Run:
    """What a run gave."""

    status: str  # finished | failed | stopped | paused
    why: str
    rounds: int
    metrics: list[dict[str, Any]]  # a row for each model: round, and each metric's mean
    model: Arrays = field(repr=False)  # the last model


def run(
    app: "ClientApp[Any, Any]",
    *,
    clients: int = 5,
    rounds: int = 20,
    settings: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
    show: bool = True,
) -> Run:
    """Train `app` in a federation of threads, in a temporary directory. Works where an event loop already runs.

    `settings` go to the clients; `rules` are those of a session file: {"round": {"quorum": 0.8}}. FedkError when the
    session cannot start or no client is left; ConfigError names every mistake in the rules.
    """
    given = {"rounds": rounds, "client_settings": dict(settings or {}), **(rules or {})}
    with tempfile.TemporaryDirectory(prefix="fedk-") as directory:
        plan = Plan(clients=clients, rules=_checked(given), data_dir=Path(directory), stem="notebook")
        return _Thread(app, plan, _printed if show else _silent).result()


def _checked(given: Mapping[str, Any]) -> Rules:
    try:
        return Rules.model_validate(given)
    except ValidationError as error:
        raise ConfigError("rules", [str(one) for one in mistakes(error, Rules, given)]) from error


class _Thread(threading.Thread):
    """The server's loop, beside whatever loop this thread may have."""

    def __init__(self, app: "ClientApp[Any, Any]", plan: Plan, show: Show) -> None:
        super().__init__(name="fedk", daemon=True)
        self._app, self._plan, self._show = app, plan, show
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._federation: Federation | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def result(self) -> Run:
        self.start()
        try:
            self.join()
        except KeyboardInterrupt:
            if self._loop is not None and self._federation is not None:
                self._loop.call_soon_threadsafe(self._federation.interrupt)
            self.join()
            raise
        if self._error is not None:
            raise self._error
        assert self._run is not None  # noqa: S101  # one of the two is set
        return self._run

    def run(self) -> None:
        try:
            self._run = asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            self._error = error

    async def _main(self) -> Run:
        self._loop = asyncio.get_running_loop()
        rows: dict[int, dict[str, Any]] = {}

        def note(kind: str, body: Mapping[str, Any]) -> None:
            if "metrics" in body and "round" in body:
                rows.setdefault(body["round"], {"round": body["round"]}).update(body["metrics"])
            self._show(kind, body)

        self._federation = Federation(self._plan, Threads(self._app), note)
        outcome = await self._federation.run()
        return Run(outcome.status, outcome.why, outcome.rounds, [rows[n] for n in sorted(rows)], self._model(outcome))

    def _model(self, outcome: Outcome) -> Arrays:
        if not outcome.model:
            raise FedkError(f"the session {outcome.status} before there was a model: {outcome.why}")
        path = self._plan.data_dir / "blobs" / "default" / outcome.model[:2] / outcome.model
        return Safetensors().decode(path.read_bytes())


def _silent(kind: str, body: Mapping[str, Any]) -> None:
    pass


def _printed(kind: str, body: Mapping[str, Any]) -> None:
    if kind == "round.committed" and body["round"] > 0:
        metrics = "  ".join(f"{name} {value:.3f}" for name, value in body["metrics"].items())
        print(f"round {body['round']:>3}  {body['updates']} updates  {metrics}", file=sys.stderr)  # noqa: T201  # progress
