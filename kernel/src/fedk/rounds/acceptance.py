"""Acceptance: what an update weighs, by its formula, in the round that it comes into."""

from fedk.aggregation.composition import summable
from fedk.aggregation.exact import check_products
from fedk.aggregation.terms import Terms, terms
from fedk.api.errors import FormulaError, Refused
from fedk.rounds.clients import Arrival
from fedk.rounds.live import Live, Taken
from fedk.rounds.roster import Roster
from fedk.rounds.states import Session, Task
from fedk.rounds.views import round_view, update_view


def weighed(live: Live, task: Task, arrival: Arrival, roster: Roster) -> Taken:
    """An arrived result, as it counts. FormulaError; Refused where its products could not be added up exactly."""
    return Taken(arrival, _terms(live, task, arrival, roster), live.state.staleness(task))


def dated(live: Live, new: Session, note: Taken, roster: Roster) -> Taken:
    """The same once its round is known: another may have closed between arrival and acceptance, and made it older."""
    task = new.tasks.get(note.arrival.task)
    if task is None or task.state != "accepted" or new.staleness(task) == note.staleness:
        return note
    try:
        return weighed(live, task, note.arrival, roster)
    except (FormulaError, Refused):  # it counted as fresh as it came
        return note


def _terms(live: Live, task: Task, arrival: Arrival, roster: Roster) -> Terms | None:
    if task.kind != "train" or live.aggregator is None:
        return None
    view = round_view(live, task.round or live.state.accepting, roster)
    found = terms(live.aggregator, update_view(live, task, roster.name(task.client), arrival), view)
    if live.state.rules.deterministic and summable(live.aggregator):
        check_products(live.bases[task.base].expected, found, arrival.max_abs)
    return found
