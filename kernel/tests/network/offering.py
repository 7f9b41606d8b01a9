"""Offers for tests of queues and agendas."""

from fedk.rounds.clients import Input, Offer, Work


def work(session: str = "s1", project: str = "default", **fields: object) -> Work:
    said: dict[str, object] = {
        "kind": "train",
        "before": (),
        "round": 1,
        "step": 0,
        "inputs": {},
        "settings": "{}",
        "wants": (),
        "sets": (),
        "remaining": lambda: 600.0,
    }
    return Work(project=project, session=session, session_name=f"{session}-name", **{**said, **fields})  # type: ignore[arg-type]  # any subset of its fields


def offer(task: str, session: str = "s1", project: str = "default", **fields: object) -> Offer:
    return Offer(task=task, client="c1", seed=7, work=work(session, project, **fields))


def model(data: bytes, *, inline: bool = True) -> Input:
    return Input(sha256=b"m" * 32, size=len(data), inline=data if inline else None)
