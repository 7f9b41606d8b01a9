"""/plugins for people: what is installed, in which state, and why. Made by the server; needs no JavaScript."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from fedk.admin.html import Child, Html, facts, page, table, tag
from fedk.admin.services import services
from fedk.api.errors import Conflict, NotFound
from fedk.api.toml import toml
from fedk.catalogue import PluginInfo
from fedk.catalogue.key import keys
from fedk.catalogue.plugin import ILL, conformed, used

# nothing is loaded or run beside the style that stands in the page, whatever a plugin's metadata says
_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'", "cache-control": "no-store"}


async def listed(request: Request) -> Response:
    found = await run_in_threadpool(services(request).catalogue.entries)  # it looks for files
    return HTMLResponse(_list(found, services(request).settings.server.name), headers=_HEADERS)


async def shown(request: Request) -> Response:
    kind, name = request.path_params["kind"], request.path_params["name"]
    try:
        info = await run_in_threadpool(services(request).catalogue.show, name, kind)
    except (NotFound, Conflict) as error:
        return HTMLResponse(page("no such plugin", _back(), tag("p", error)), 404, headers=_HEADERS)
    return HTMLResponse(_one(info), headers=_HEADERS)


def _list(found: Sequence[PluginInfo], server: str) -> str:
    ill = [info for info in found if info.state in ILL]
    title = f"{len(found)} plugins" + (f", {len(ill)} need attention" if ill else "")
    return page(
        f"fedk {server}: plugins",
        tag("h1", title),
        tag("p", f"fedk {version('fedk')}, server {server}", class_="dim"),
        [tag("h2", "Need attention"), _table(ill)] if ill else None,
        tag("h2", "All"),
        _table(found),
    )


def _table(found: Iterable[PluginInfo]) -> Html:
    header = ("kind", "name", "state", "distribution", "calls", "summary")
    return table(
        header, ((i.kind, _link(i), _state(i), _owner(i), _calls(i), i.error or i.summary) for i in found), "lines"
    )


def _one(info: PluginInfo) -> str:
    why = tag("div", tag("p", info.error), tag("p", info.hint), class_="why") if info.error else None
    return page(
        f"{info.kind} {info.name}",
        _back(),
        tag("h1", f"{info.kind} {info.name} ", _state(info)),
        tag("p", info.summary),
        why,
        facts(_facts(info)),
        _keys(info),
        _trace(info),
    )


def _facts(info: PluginInfo) -> list[tuple[str, Child]]:
    return [
        ("distribution", _owner(info)),
        ("license", info.license),
        ("wants", info.requires),
        ("file", tag("code", info.file) if info.file else None),
        ("imported in", f"{info.import_ms:g} ms" if info.import_ms is not None else None),
        ("hooks", ", ".join(info.hooks)),
        ("calls", _calls(info)),
        ("conformance", conformed(info)),
        ("use it", tag("code", used(info)) if used(info) else None),
    ]


def _keys(info: PluginInfo) -> Child:
    rows = keys(info.config_schema or {})
    if not rows:
        return None
    header = ("key", "value", "default", "allowed", "meaning")
    cells = ((tag("code", k.name), _value(info.settings, k.name), k.default, k.allowed, k.meaning) for k in rows)
    return tag("h2", "Settings"), table(header, cells)


def _value(settings: Mapping[str, object], name: str) -> Child:
    return tag("code", toml(settings[name])) if settings.get(name) is not None else "–"


def _trace(info: PluginInfo) -> Child:
    if not info.traceback:
        return None
    return tag("details", tag("summary", "Traceback"), tag("pre", info.traceback))


def _calls(info: PluginInfo) -> str:
    if not info.calls:
        return ""
    each = f"{info.calls:,} × {info.seconds / info.calls * 1000:.2g} ms"
    return f"{each}, {info.failures:,} failed" if info.failures else each


def _owner(info: PluginInfo) -> str:
    return f"{info.distribution} {info.version}".strip()


def _state(info: PluginInfo) -> Html:
    return tag("span", info.state, class_=f"state {info.state}")


def _link(info: PluginInfo) -> Html:
    return tag("a", info.name, href=f"/plugins/{quote(info.kind, '')}/{quote(info.name, '')}")


def _back() -> Html:
    return tag("p", tag("a", "all plugins", href="/plugins"))


async def home(_: Request) -> Response:
    """The first page of those there are: the address that a server prints leads somewhere."""
    return RedirectResponse("/plugins")


routes = [Route("/", home), Route("/plugins", listed), Route("/plugins/{kind}/{name}", shown)]
"""Of the application itself, beside /api/v1."""
