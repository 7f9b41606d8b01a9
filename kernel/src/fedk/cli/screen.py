"""The screen of `fedk run`: what was started, the rounds as they come, the end and what to type next."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fedk.api.printable import printable
from fedk.cli import quantity
from fedk.cli.display import Display, display
from fedk.cli.screens.session import LOUD, waiting

if TYPE_CHECKING:
    from fedk.local.federation import Outcome

_TROUBLES = 10
"""Lines of what clients did in the round that failed; `fedk session show` has them all."""


class Screen:
    """Shows a federation's run as `Federation` tells it."""

    def __init__(self, *, err: bool, data_dir: Path) -> None:
        self._out = sys.stderr if err else sys.stdout
        self._data_dir = data_dir
        self._stack = ExitStack()
        self._display: Display | None = None
        self._session: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def say(self, line: str) -> None:
        """A line of its own, also while the table is live."""
        if self._display is not None:
            self._display.say(line)
        else:
            print(printable(line), file=self._out, flush=True)

    def show(self, kind: str, body: Mapping[str, Any]) -> None:
        """One thing that has happened."""
        handler = getattr(self, f"_on_{kind.replace('.', '_')}", None)
        if self._display is not None and self._display.live:
            self._display.wait("")
        if handler is not None:
            handler(body)
        if self._display is not None:
            self._display.take(kind, body)

    def _on_held(self, body: Mapping[str, Any]) -> None:
        go_on = f"fedk run FILE:APP --resume {body['name']} --data-dir {self._data_dir}"
        self.say(f"paused   {body['name']}, which was left running: {go_on}")

    def _on_waiting(self, body: Mapping[str, Any]) -> None:
        for one in body["for"]:
            if self._display is not None and (self._display.live or one["for"] in LOUD):
                self._display.wait(*waiting(one))

    def _on_server(self, body: Mapping[str, Any]) -> None:
        where = f"data in {body['data_dir']} ({body['db']}, {body['storage']})"
        self.say(f"server   this process, {body['listen']} (free port), {where}")

    def _on_clients(self, body: Mapping[str, Any]) -> None:
        joined = f"{body['joined']} of {body['of']} joined in {body['seconds']:.1f} s"
        self.say(f"clients  {joined}      logs in {self._data_dir / 'logs'}/")

    def _on_session(self, body: Mapping[str, Any]) -> None:
        self._session = body
        if body["head"] >= 0:
            self._begin(f"goes on from {body['name']}/{body['head']}")

    def _on_round_committed(self, body: Mapping[str, Any]) -> None:
        if body["round"] == 0:
            tensors = quantity.counted(body["tensors"], "tensor")
            size = quantity.size(body["bytes"])
            self._begin(f"model {tensors}, {body['elements']:,} weights, {size}")

    def _on_session_finished(self, body: Mapping[str, Any]) -> None:
        for text in body["warnings"]:
            self.say(f"warning   {text}")

    def _begin(self, model: str) -> None:
        """The session's line; the table starts below it."""
        name, rounds = self._session["name"], quantity.counted(self._session["rounds"], "round")
        self.say(f"session  {name}   {self._session['aggregator']}   {rounds}   {model}")
        title = f"{name}   {self._session['aggregator']}"
        hint = "Ctrl-C pauses the session"
        shown = display(self._out, title=title, total=self._session["rounds"], hint=hint)
        self._display = self._stack.enter_context(shown)

    def _on_died(self, body: Mapping[str, Any]) -> None:
        for line in body["last"].splitlines():
            self.say(line)

    def end(self, outcome: "Outcome", *, resume: str) -> None:
        """The last lines; the table stays as it is."""
        rounds = self._display.rounds.summary() if self._display is not None else "no round committed"
        troubles = self._display.rounds.troubles if self._display is not None else []
        where = f"--data-dir {self._data_dir}"
        self._display = None
        if outcome.status == "finished":
            self.say(f"finished  {rounds}")
        elif outcome.status in ("running", "paused"):
            kept = quantity.counted(outcome.rounds + bool(outcome.model), "model")
            self.say(f"stopped at round {outcome.rounds + 1}; {kept} kept      {resume}")
        elif outcome.status:
            self.say(f"{outcome.status}    {outcome.why}")
            for text in troubles[:_TROUBLES]:
                self.say(f"          {text}")
            self.say(f"next      fedk session show {outcome.name} {where}")
        if outcome.model:
            model = f"{outcome.name}/{outcome.rounds}"
            get = f"fedk model get {model} -o {outcome.name}-{outcome.rounds}.safetensors {where}"
            self.say(f"model     {model}  {outcome.model[:8]}…   {get}")
            self.say(f"trail     fedk model trail {outcome.name} {where}")
