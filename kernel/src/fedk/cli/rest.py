"""The command line's way to REST: a server over HTTP, or the same application in process over a data directory."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx2

from fedk.api.errors import ConfigError, FedkError
from fedk.api.mistake import Mistake
from fedk.settings import Settings, is_loopback, load

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_WAYS = "give --url URL or --data-dir DIR"
_OTHERWISE = f"Otherwise {_WAYS}"
# a server may hash gigabytes before it answers; one that is not there is known within seconds
_TIMEOUT = httpx2.Timeout(None, connect=5.0)


@dataclass(frozen=True, slots=True)
class Address:
    """Whom to ask, about which project."""

    url: str | None
    data_dir: Path | None
    project: str
    flags: str = ""
    """What a command that follows must say to ask the same: " --data-dir demo-data"."""


class Mistaken(ConfigError):
    """A body that the server does not take: what is wrong, by key."""

    def __init__(self, title: str, found: list[Mistake]) -> None:
        super().__init__(title, [str(one) for one in found])
        self.found = tuple(found)


def asking(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that say whom to ask; it gets them as `at`."""

    @click.option("--url", envvar="FEDK_URL", help="The server's REST; else server.admin of fedk.toml, or FEDK_URL.")
    @click.option("--data-dir", type=click.Path(path_type=Path), help="Read this directory, without a server.")
    @click.option("--project", default="default", show_default=True, help="The tenant.")
    @functools.wraps(verb)
    def asks(*args: Any, url: str | None, data_dir: Path | None, project: str, **options: Any) -> Any:
        said = None if _from_environment("url") else url
        if said is not None and data_dir is not None:
            raise click.UsageError("--url asks a server, --data-dir reads without one: give one of them")
        flags = _flags({"--url": said, "--data-dir": data_dir, "--project": project if project != "default" else None})
        return verb(*args, at=Address(url if data_dir is None else None, data_dir, project, flags), **options)

    return asks


def ask(at: Address, *path: str, **query: Any) -> Any:
    """The document that one GET gives."""

    async def got() -> Any:
        async with asked(at) as rest:
            return await rest.get(*path, **query)

    return asyncio.run(got())


@dataclass(frozen=True, slots=True)
class Rest:
    """Paths below /api/v1 of one project. FedkError says what the server said."""

    http: httpx2.AsyncClient
    at: Address
    place: str  # of the server, for messages

    async def get(self, *path: str, **query: Any) -> Any:
        return await self._json("GET", path, query)

    async def post(self, *path: str, body: Any = None, **query: Any) -> Any:
        return await self._json("POST", path, query, json=body if body is not None else {})

    async def put(self, *path: str, content: AsyncIterator[bytes], size: int) -> Any:
        """POST bytes; `size` of them."""
        return await self._json("POST", path, {}, content=content, headers={"content-length": str(size)})

    @asynccontextmanager
    async def stream(self, *path: str, **query: Any) -> AsyncIterator[httpx2.Response]:
        """An answer whose body is read piece by piece."""
        with self._explained():
            async with self.http.stream("GET", self._path(path), params=self._query(query)) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response, self.place)
                yield response

    async def _json(self, method: str, path: tuple[str, ...], query: dict[str, Any], **more: Any) -> Any:
        with self._explained():
            response = await self.http.request(method, self._path(path), params=self._query(query), **more)
        if response.is_error:
            raise _error(response, self.place)
        try:
            return response.json()
        except (JSONDecodeError, UnicodeDecodeError) as error:
            raise FedkError(f"what answers at {self.place} is no fedk server. {_OTHERWISE}") from error

    def _path(self, path: tuple[str, ...]) -> str:
        return "/api/v1/" + "/".join(quote(part, safe="/") for part in path)

    def _query(self, query: dict[str, Any]) -> dict[str, Any]:
        return {"project": self.at.project, **{name: value for name, value in query.items() if value is not None}}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Around a request: what a person can do about a server that is not there."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise FedkError(_nobody(self)) from error
        except httpx2.RemoteProtocolError as error:
            what = f"{self.place} does not speak REST: {error}"
            raise FedkError(f"{what}. It is at server.admin, clients join at server.listen. {_OTHERWISE}") from error
        except httpx2.TransportError as error:
            what = str(error) or type(error).__name__
            raise FedkError(f"no answer from {self.place}: {what}. Ask again, or {_WAYS}") from error


@asynccontextmanager
async def asked(at: Address) -> AsyncIterator[Rest]:
    """Whom `at` names."""
    if at.data_dir is not None:
        from fedk.cli.directory import opened
        from fedk.cli.inprocess import InProcess

        async with (
            opened(at.data_dir) as app,
            httpx2.AsyncClient(transport=InProcess(app), base_url="http://directory") as http,
        ):
            yield Rest(http, at, str(at.data_dir))
        return
    url = _url(at.url or _configured().server.admin)
    host = f"{url.host}:{url.port or 80}" if ":" not in url.host else f"[{url.host}]:{url.port or 80}"
    # a proxy of the environment is for the world: this machine is asked itself
    own = is_loopback(host)
    async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=not own) as http:
        yield Rest(http, at, host)


def _url(text: str) -> httpx2.URL:
    """HOST:PORT is http; who listens everywhere is reached here."""
    try:
        url = httpx2.URL(text if "://" in text else f"http://{text}")
        known = url.scheme in ("http", "https") and bool(url.host)
    except httpx2.InvalidURL:
        known = False
    if not known:
        raise click.UsageError(f'"{text}" is no address of a server. For example http://127.0.0.1:6080')
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # asked, not listened on
    return url.copy_with(host=here.get(url.host, url.host))


def _configured() -> Settings:
    """The settings here; their mistakes are of no matter to who only asks."""
    return load(None, os.environ).settings


def _nobody(rest: Rest) -> str:
    if rest.at.url is not None:
        return f"no server at {rest.place}. Start it, or {_WAYS}"
    folder = _configured().server.data_dir
    if not folder.is_dir():
        return f"no server at {rest.place}, no {folder} here: {_WAYS}"
    return f"no server at {rest.place}: start it (fedk server), or read its directory: --data-dir {folder}"


def _error(response: httpx2.Response, place: str) -> FedkError:
    try:
        error = response.json()["error"]
        message, found = str(error["message"]), error.get("mistakes")
    except (JSONDecodeError, UnicodeDecodeError, LookupError, TypeError):
        return FedkError(f"{place} answered {response.status_code}: is it a fedk server? {_OTHERWISE}")
    if found is None:
        return FedkError(message)
    return Mistaken(message, [Mistake(tuple(one["key"]), one["subject"], one["text"]) for one in found])


def _flags(given: dict[str, Any]) -> str:
    return "".join(f" {name} {value}" for name, value in given.items() if value is not None)


def _from_environment(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.ENVIRONMENT
