"""/plugins for people: every plugin with its state and why, escaped, without scripts."""

from pathlib import Path
from typing import Any

import pytest

from fedk.admin.html import Html, facts, page, render, table, tag
from fedk.testing.site import site

HOSTILE = "<script>alert('x')</script>&\""


def test_text_is_escaped_wherever_it_stands_and_markup_is_not() -> None:
    assert render(["a<b", tag("b", "c&d"), 3, None]) == "a&lt;b<b>c&amp;d</b>3"
    assert render("fedavg\u202e\n\x9b2J") == "fedavg\\u202e\n\\x9b2J"
    assert tag("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'
    assert tag("p", "x", class_="why") == '<p class="why">x</p>'
    assert Html("<b>") + "<i>" == "<b>&lt;i&gt;"
    assert "<script>" not in page(
        HOSTILE, tag("p", HOSTILE), table([HOSTILE], [[HOSTILE]]), facts([(HOSTILE, HOSTILE)])
    )


def test_facts_without_a_value_are_left_out() -> None:
    assert facts([("a", ""), ("b", None), ("c", 0)]) == "<dl><dt>c</dt><dd>0</dd></dl>"


def put(folder: Path, name: str, source: str) -> None:
    info = folder / f"acme_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.4\nName: acme-{name}\nVersion: 1.0\nSummary: {HOSTILE}\n"
    (info / "METADATA").write_text(text, "utf-8")
    (info / "entry_points.txt").write_text(f"[fedk.hooks]\n{name} = acme_{name}:Plugin\n", "utf-8")
    (folder / f"acme_{name}.py").write_text(source, "utf-8")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a plugin that cannot be loaded."""
    put(tmp_path / "path", "broken", f"raise ValueError({HOSTILE!r})")
    monkeypatch.syspath_prepend(tmp_path / "path")
    return "broken"


async def test_the_list_begins_with_what_needs_attention(tmp_path: Path, broken: str) -> None:
    async with site(tmp_path / "data") as here:
        here.catalogue.show(broken, load=True)
        answer = await here.rest.get("/plugins")
    text = answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert "1 need attention</h1>" in text
    assert text.index("Need attention</h2>") < text.index('href="/plugins/hook/broken"') < text.index("All</h2>")
    assert '<span class="state active">active</span>' in text
    assert "<script" not in text


async def test_one_plugin_is_shown_with_why_and_its_traceback(tmp_path: Path, broken: str) -> None:
    async with site(tmp_path / "data") as here:
        here.catalogue.show(broken, load=True)
        text = (await here.rest.get("/plugins/hook/broken")).text
    assert "cannot be loaded: ValueError: &lt;script&gt;" in text
    assert "Ask the authors of acme-broken" in text
    assert "<details><summary>Traceback</summary><pre>Traceback (most recent call last)" in text
    assert "<script" not in text


async def test_a_plugin_in_use_is_shown_with_its_settings(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        text = (await here.rest.get("/plugins/db/sqlite")).text
    assert "<h1>db sqlite <span" in text
    assert "<td><code>path</code></td><td><code>&quot;fedk.sqlite&quot;</code></td>" in text
    assert "[db] use = &quot;sqlite&quot;" in text


async def test_a_name_that_nothing_has_is_answered_with_the_nearest(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        answer = await here.rest.get("/plugins/db/sqlit")
    assert answer.status_code == 404
    assert "Did you mean &quot;sqlite&quot;?" in answer.text


async def test_what_plugins_add_is_answered_at_its_path_and_below(tmp_path: Path) -> None:
    async def app(scope: Any, _: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with site(tmp_path, plugins={"/metrics": app}) as here:
        assert (await here.rest.get("/metrics")).text == "/metrics"
        assert (await here.rest.get("/metrics/inner")).text.endswith("/inner")
        assert (await here.rest.get("/metrication")).status_code == 404


async def test_the_address_that_a_server_prints_leads_to_a_page(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        answer = await here.rest.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/plugins")
