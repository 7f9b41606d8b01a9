"""The settings of a server, each with its default and its meaning. Drivers' and hooks' own keys stay as they are."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from fedk.api.config import Duration, Size
from fedk.settings.address import Address, Dialled, is_loopback

T = TypeVar("T")
MIB, GIB = 2**20, 2**30
_UNITS = {"TiB": 2**40, "GiB": GIB, "MiB": MIB, "KiB": 2**10}

MESSAGE = 2 * MIB
"""Bytes of the largest message that every server takes."""

Table = dict[str, Any]

COMBINER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
"""Names of combiners: no dot, which stands before the generation of their disk."""


def _written(size: int) -> str:
    unit = next((unit for unit, factor in _UNITS.items() if size and size % factor == 0), "B")
    return f"{size // _UNITS.get(unit, 1)} {unit}"


def only(taken: T, comes: str) -> Callable[[T], T]:
    """Refuses what a later version brings: a setting that does nothing would be a lie."""

    def check(value: T) -> T:
        if value != taken:
            raise ValueError(f"is not in this version: {comes}")
        return value

    return check


def room_for_combiners(size: int) -> int:
    """What a combiner says stands in messages of a fixed size, and any server may be a combiner's parent."""
    if size < MESSAGE:
        raise ValueError(f"is less than a combiner's messages to its parent may have: name {_written(MESSAGE)} or more")
    return size


Bytes = Annotated[Size, Field(ge=0), PlainSerializer(_written, when_used="json")]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(BaseModel):
    """A driver by name. Each driver's keys stand in a table named like it, so that switching is one word."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Table] = Field(init=False)

    use: str

    @property
    def tables(self) -> dict[str, Table]:
        """The drivers' own keys, by driver; the catalogue checks them."""
        return dict(self.__pydantic_extra__)


class Server(Section):
    name: str = Field("root", min_length=1, description="a combiner's name")
    role: Literal["standalone", "controller", "combiner"] = Field(
        "standalone", description="standalone | controller (clients are served by combiners) | combiner"
    )
    parent: tuple[Dialled, ...] = Field((), description="combiner: addresses of its parent, the root or a combiner")
    capacity: int = Field(0, ge=0, description="combiner: clients that it takes, with those below it; 0: no limit")
    attributes: dict[str, str] = Field({}, description="combiner: what a balancer may choose by")
    listen: Address = Field("127.0.0.1:6090", description="clients, over gRPC; port 0: any free one")
    admin: Address = Field("127.0.0.1:6080", description="REST; port 0: any free one")
    advertise: tuple[Dialled, ...] = Field(
        (), description="addresses that clients can reach, HOST:PORT each, when not `listen`"
    )
    insecure: bool = Field(False, description="must be true to listen beyond loopback without TLS and tokens")
    data_dir: Path = Field(Path("fedk-data"), description="everything that must survive; relative to where it starts")

    @model_validator(mode="after")
    def _of_a_role(self) -> "Server":
        if self.role == "combiner" and not self.parent:
            raise ValueError('role = "combiner" wants parent = ["HOST:PORT"]: the server that it works for')
        if self.role == "combiner" and not re.fullmatch(COMBINER, self.name):
            raise ValueError(f'name = "{self.name}" of a combiner: 1 to 40 of A–Z a–z 0–9 _ -, a letter or digit first')
        if self.role != "combiner" and self.parent:
            raise ValueError(f'parent is of a combiner, and this server is {self.role}: set role = "combiner"')
        return self

    @property
    def exposed(self) -> list[str]:
        """The listeners ("listen", "admin") that other machines reach."""
        return [name for name in ("listen", "admin") if not is_loopback(getattr(self, name))]


class Db(Choice):
    use: str = Field("sqlite", description='entry-point name, or "distribution:name" when two packages claim it')


class Storage(Choice):
    use: str = Field("local", description="where model bytes live")


class Balancer(Choice):
    use: str = Field("least-loaded", description="which server serves a client")


class Updates(Section):
    durable: Annotated[Literal["local", "storage"], AfterValidator(only("local", "results outlive the disk"))] = Field(
        "local", description='what a receipt promises: this disk; or "storage"'
    )


class Limits(Section):
    intake_bytes: Bytes = Field(256 * MIB, description="results waiting for a commit")
    spool_bytes: Bytes = Field(50 * GIB, description="results waiting for a verdict, a project")
    accumulators: Bytes = Field(2 * GIB, description="memory of the folds under way")
    message_bytes: Annotated[Bytes, AfterValidator(room_for_combiners)] = Field(
        4 * MIB, description="a larger message is refused before it is read; at least 2 MiB"
    )
    window_bytes: Bytes = Field(
        MIB,
        ge=64 * 2**10,
        le=64 * MIB,
        description="of each upload that may be on their way: more for long lines (bandwidth × round trip)",
    )


class Plugins(Section):
    hooks: tuple[str, ...] = Field((), description="hook plugins to enable, in this order")
    disabled: tuple[str, ...] = Field((), description="names never loaded")
    allow: tuple[str, ...] = Field((), description="when not empty: nothing else is loaded")
    strict: bool = Field(False, description="a hook plugin that cannot load stops the start")
    lock: str = Field("", description="lock file to enforce, as `fedk plugins freeze` writes it")
    budget: int = Field(5, ge=1, description="failures in a row that switch an observer off")
    gate_seconds: Duration = Field(10.0, gt=0, description="how long a gate may take; then it has failed")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug | info | warning | error")
    format: Literal["text", "json"] = Field("text", description="text | json; always to stderr")


class Settings(Section):
    """A whole `fedk.toml`, with every default filled in."""

    server: Server = Server()
    db: Db = Db()
    storage: Storage = Storage()
    balancer: Balancer = Balancer()
    updates: Updates = Updates()
    limits: Limits = Limits()
    plugins: Plugins = Plugins()
    hooks: dict[str, Table] = Field({}, description="[hooks.NAME]: settings of one hook plugin")
    log: Log = Log()


def sections() -> Iterable[tuple[str, type[BaseModel]]]:
    """The sections that have keys of their own, in the order of the file."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation
