"""How a round closes: gathered, folded and committed, or tried again; and a session, after its last model."""

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.asking import select_validators
from fedk.rounds.counts import elsewhere, quorum
from fedk.rounds.draft import Draft
from fedk.rounds.holders import flush
from fedk.rounds.lifecycle import end
from fedk.rounds.states import Round, Token


def gather(d: Draft) -> bool:
    """Enough has been accepted: the bytes are to come here."""
    if d.session.rules.mode == "sync":
        d.late(d.session.making())
    d.clock(act.Disarm)
    d.set_round(state="gathering")
    flush(d)
    d.clock(act.Arm)
    return True


def gathered(d: Draft, r: Round) -> bool:
    """Fold, once all of it is here."""
    if elsewhere(d.session):
        return False
    accepted = tuple(t.id for t in sorted(d.session.accepted(), key=lambda t: t.number))
    d.clock(act.Disarm)
    d.set_round(state="folding", frozen=accepted)
    fold(d, r.token, accepted)
    return False


def fold(d: Draft, token: Token, tasks: tuple[str, ...]) -> None:
    """Counted in the transaction that comes before: whatever noise is drawn for it is paid for by then."""
    d.set(folds=d.session.folds + (token.round > 0))
    d.do(act.Fold(token, tasks))


def folded(d: Draft, event: ev.Folded) -> None:
    r = d.session.round
    if r is None or r.state != "folding" or event.token != r.token:
        return
    d.do(act.Keep(event))
    for frozen in r.frozen:
        d.settle(d.session.tasks[frozen], "committed" if r.no else "recorded")
    d.set(head=r.no, round=None)
    d.emit("round.committed", round=r.no, updates=len(r.frozen), target=r.target)
    if r.no and (event.enough or r.no >= d.session.rules.rounds):
        d.give_up("cancelled", "cancelled")  # async: those who still train, and what a next round would have had
        d.set(closing="due", why=event.enough)


def fold_failed(d: Draft, event: ev.FoldFailed) -> None:
    r = d.session.round
    if r is None or r.state != "folding" or event.token != r.token:
        return
    if not event.damaged:
        end(d, "failed", event.why, "session-failed")
        return
    sums = {d.session.tasks[name].partial for name in event.damaged} - {""}
    for task in [d.session.tasks[name] for name in r.frozen]:
        if task.id in event.damaged or task.partial in sums:
            d.settle(task, "rejected", "damaged", event.why)
    d.reopen(r)


def retry(d: Draft, r: Round, count: int) -> bool:
    """Another attempt, which keeps what was accepted; or none is left."""
    short = f"quorum {quorum(d.session)} of {r.target} not reached: {count} updates"
    why = f"{short} {'at the deadline' if r.expired else 'and nobody left who could answer'}"
    if r.attempt >= d.session.rules.round.retries:
        end(d, "failed", f"round {r.no}, attempt {r.attempt + 1} of {r.attempt + 1}: {why}", "session-failed")
        return False
    d.clock(act.Disarm)
    d.set_round(attempt=r.attempt + 1, target=0, vetoed=frozenset(), selecting=None, armed=False, expired=False)
    d.emit("round.retried", round=r.no, attempt=r.attempt + 2, why=why)
    return True


def finish(d: Draft) -> bool:
    """The last model is committed: have it measured, then end."""
    s = d.session
    if s.closing == "due":
        among = s.validators if s.rules.validation.every else frozenset()
        if not among:
            d.set(closing="asked")
            return True
        d.set(closing="selecting")
        select_validators(d, among)
    elif s.closing == "asked" and not s.outstanding():
        end(d, "finished", s.why, "cancelled")
    return False
