"""Where gates are asked: whom a round draws from, and what a client's task says besides."""

import json
from dataclasses import replace

from fedk.api.errors import PluginError
from fedk.catalogue.gates import Gates
from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.clients import Offer
from fedk.rounds.draw import draw
from fedk.rounds.live import Live
from fedk.rounds.roster import Member, Roster
from fedk.rounds.views import client_facts, session_facts


def drawn(live: Live, action: act.Select, *, roster: Roster) -> ev.Selected:
    """The answer to a Select where no gate has a say."""
    return ev.Selected(action.token, _drawn(live, action, roster, action.among))


def _drawn(live: Live, action: act.Select, roster: Roster, among: frozenset[str]) -> tuple[str, ...]:
    """Up to `action.count` of `among`, the same for the same names."""
    names = {roster.name(client): client for client in among}
    token = action.token
    chosen = draw(names, min(action.count, len(names)), live.state.rules.seed or 0, token.round, token.attempt)
    return tuple(names[name] for name in chosen)


async def selected(gates: Gates, live: Live, action: act.Select, roster: Roster) -> ev.Selected | ev.Blocked:
    """The answer to a Select: drawn from those that every gate admits; Blocked where one failed."""
    members = [roster[client] for client in sorted(action.among)]
    try:
        names, vetoers = await gates.select(session_facts(live), [client_facts(member) for member in members])
    except PluginError as error:
        return ev.Blocked(str(error))
    admitted = frozenset(member.id for member in members if member.name in names)
    return ev.Selected(action.token, _drawn(live, action, roster, admitted), action.among - admitted, vetoers)


async def with_settings(gates: Gates, live: Live, offer: Offer, member: Member) -> Offer:
    """The offer with what gates add to the settings. PluginError where one failed."""
    settings = await gates.settings(session_facts(live), client_facts(member), json.loads(offer.work.settings))
    return replace(offer, work=replace(offer.work, settings=json.dumps(settings, sort_keys=True)))
