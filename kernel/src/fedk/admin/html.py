"""HTML without a template: an element is a function call, and text is escaped because it is text."""

from collections.abc import Iterable
from html import escape
from typing import Self

from fedk.api.printable import printable


class Html(str):
    """Markup that is ready to be sent. Only this module makes it of text."""

    __slots__ = ()

    def __add__(self, other: object) -> Self:
        return type(self)(str(self) + render(other))


Child = object
"""Text, a number, an element, None, or an iterable of those."""


def render(child: Child) -> str:
    """Anything as markup; text is escaped."""
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, Iterable) and not isinstance(child, str):
        return "".join(map(render, child))
    return escape(printable(str(child), keep="\n"))  # a sign that turns the direction disguises the text behind it


def tag(name: str, *children: Child, **attributes: str) -> Html:
    """An element; `class_` is the attribute class."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{render(children)}</{name}>")


def table(header: Iterable[str], rows: Iterable[Iterable[Child]], class_: str = "") -> Html:
    """Scrolls by itself where the window is narrow. Class `lines`: only the last cell of a row may wrap."""
    head = tag("tr", (tag("th", one, scope="col") for one in header))
    body = (tag("tr", (tag("td", cell) for cell in row)) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_=f"wide {class_}".rstrip())


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """A list of names and values; those without a value are left out."""
    return tag("dl", ((tag("dt", name), tag("dd", value)) for name, value in pairs if value not in ("", None, ())))


STYLE = Html("""
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1a7f37; --bad: #c0362c; --dim: #808080 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 74rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .3rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .3rem 0 } a { color: inherit } .dim { color: var(--dim) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600; white-space: nowrap } td:first-child, .lines td:not(:last-child) { white-space: nowrap }
.lines td:last-child { min-width: 16rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: .5rem 0 }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: var(--soft); border-radius: 4px }
code { padding: .1em .3em } pre { padding: .7rem; overflow-x: auto }
.state { white-space: nowrap } .active { color: var(--good); font-weight: 600 }
.failed, .missing, .incompatible { color: var(--bad); font-weight: 600 } .available { color: inherit }
.disabled, .shadowed { color: var(--dim) } .why { border-left: 3px solid var(--bad); padding-left: .8rem }
""")


def page(title: str, *children: Child) -> str:
    """A whole document."""
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", STYLE),
    )
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', children), lang='en')}\n"
