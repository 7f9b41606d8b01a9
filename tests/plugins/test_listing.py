"""`fedk plugins list` among 600 distributions: imports no plugin, and hides none."""

from pathlib import Path

from tests.conftest import Fedk
from tests.plugins.conftest import Site


def test_among_600_distributions_the_list_has_every_plugin_and_imports_none(
    site: Site, fedk: Fedk, tmp_path: Path
) -> None:
    trace = tmp_path / "imported"
    for number in range(600):
        own = number % 60 == 0
        site.group = "fedk.aggregators" if own else "console_scripts"
        source = f"open({str(trace)!r}, 'a').write('{number}')"
        site.put(f"p{number}", source if own else None, summary=f"Plugin {number}")
    found = {info["name"]: info for info in fedk("plugins", "list", "--json", env=site.env).json}
    ours = {name: info for name, info in found.items() if info["distribution"].startswith("acme-")}
    assert sorted(ours) == sorted(f"p{number}" for number in range(0, 600, 60))
    keys = {"kind", "name", "state", "distribution", "version", "summary", "error"}
    assert all(info.keys() >= keys for info in found.values())
    assert ours["p60"]["summary"] == "Plugin 60"
    assert ours["p60"]["file"] == str(site.folder / "acme_p60.py")
    assert not trace.exists()
