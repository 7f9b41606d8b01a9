"""Gathering: what combiners are asked for, and told, when the machine wants the updates that they hold."""

from fedk.aggregation.composition import summable
from fedk.aggregation.terms import Terms
from fedk.rounds import actions as act
from fedk.rounds.clients import Clients, Flush, Wanted
from fedk.rounds.live import Live

Gathered = act.Flush | act.PartialReceipt | act.Refold


def tell(network: Clients, live: Live, action: Gathered) -> None:
    """Perform one action of the machine."""
    match action:
        case act.Flush():
            network.flush(action.holder, _flush(live, action))
        case act.PartialReceipt():
            network.partial_taken(action.holder, live.state.id, action.number)
        case act.Refold():
            network.refold(action.holder, live.state.id, action.number, action.without)


def _flush(live: Live, action: act.Flush) -> Flush:
    rules, aggregator = live.state.rules, live.aggregator
    tasks = [live.state.tasks[task] for task in action.tasks]
    return Flush(
        session=live.state.id,
        project=live.project,
        round=tasks[0].round or 0,
        forward=not summable(aggregator) or tasks[0].kind == "init",
        delta=getattr(aggregator, "of", "model") == "delta",
        sets=tuple(aggregator.sets) if aggregator is not None else (),
        plain=rules.aggregator.plain,
        exact=rules.deterministic,
        wanted=tuple(_wanted(live, task.id, task.base) for task in tasks),
    )


def _wanted(live: Live, task: str, base: int) -> Wanted:
    taken = live.taken[task]
    terms = taken.terms or Terms(1.0)
    model = live.bases[base].stored.sha256 if base in live.bases else b""
    return Wanted(task, taken.arrival.sha256, terms.weight, terms.scale, model)
