"""What a session waits for: always known, always shown."""

from typing import Any

from fedk.rounds.counts import fewest, quorum
from fedk.rounds.live import Live
from fedk.rounds.roster import Roster
from fedk.rounds.states import ENDED


def waiting_for(live: Live, roster: Roster, *, again_in: float | None = None) -> list[dict[str, Any]]:
    """What must happen next; empty for a session that has ended. `for` names the kind.

    `again_in`: seconds until what blocks it is tried again; None where that is for a person.
    """
    s = live.state
    if s.status in ENDED:
        return []
    if s.paused_by == "person":
        return [{"for": "person", "why": s.why}]
    if s.status == "paused":
        return [{"for": "repair", "why": s.why, "again_in": None if again_in is None else round(again_in, 3)}]
    r = s.round
    if r is not None and r.state == "folding":
        return [{"for": "fold", "round": r.no, "updates": len(r.frozen)}]
    if r is not None and r.state == "open" and r.target == 0:
        return [{"for": "clients", "present": len(s.present), "min": 1 if r.no == 0 else fewest(s)}]
    if r is not None and r.selecting is not None:
        return [{"for": "selection", "round": r.no}]
    outstanding = s.making() if r is not None else s.outstanding()
    at_most = round(live.clock.left, 3) if live.clock.running else None
    if not outstanding:
        return [{"for": "clients", "present": len(s.present), "min": fewest(s), "at_most": at_most}]
    return [
        {
            "for": "results",
            "round": s.head if s.closing else (r.no if r else s.head + 1),
            "kind": outstanding[0].kind,
            "clients": sorted(roster.name(task.client) for task in outstanding),
            "updates": len(s.accepted()),
            "target": r.target if r else len(outstanding),
            "quorum": quorum(s) if r else 0,
            "at_most": at_most,
        }
    ]
