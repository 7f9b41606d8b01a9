"""A step: what one batch does to one session, on its way into the rows."""

import asyncio
from dataclasses import dataclass

from fedk.rounds import actions as act
from fedk.rounds.inbox import Entry
from fedk.rounds.live import Live
from fedk.rounds.states import Session


@dataclass(slots=True)
class Step:
    """`live` stands where it stood before the batch until the transaction is committed."""

    live: Live
    new: Session
    actions: list[act.Action]
    making: "asyncio.Task[Entry] | None" = None  # of a model that is begun before its round's close is in the rows

    @property
    def changes(self) -> bool:
        """Whether it has other rules after it: what they name is not in `live` yet."""
        return self.new.rules is not self.live.state.rules

    @property
    def fold(self) -> act.Fold | None:
        """The model that is to be made."""
        return next((action for action in self.actions if isinstance(action, act.Fold)), None)

    def stays(self, task: str) -> bool:
        """Whether a result of this batch is needed after it: those of a model that is in it are not."""
        found = self.new.tasks.get(task)
        return found is not None and found.state == "accepted"
