import sys
from importlib.metadata import PathDistribution
from typing import Any

import pytest
from packaging.version import Version

from fedk.catalogue import Catalogue, PluginInfo
from fedk.catalogue.scan import scan
from fedk.catalogue.selection import Obstacle, Policy


def test_the_first_party_plugins_are_found_with_distribution_version_and_file() -> None:
    found = {(info.kind, info.name): info for info in Catalogue.scan().entries()}
    balancer = found["balancer", "least-loaded"]
    assert (balancer.distribution, balancer.state) == ("fedk-plugin-least-loaded", "available")
    assert balancer.file.endswith("fedk_plugin_least_loaded/__init__.py")
    assert {("db", "sqlite"), ("storage", "local"), ("aggregator", "fedavg")} <= found.keys()


def test_listing_imports_no_plugin_not_even_the_package_around_its_module(site: Any) -> None:
    package = site.folder / "acme_deep"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", "utf-8")
    (package / "inner.py").write_text("raise RuntimeError('imported')", "utf-8")
    site.install("acme-deep", "[fedk.balancers]\ndeep = acme_deep.inner:Fair")
    (info,) = Catalogue.scan(path=[str(site.folder)]).entries()
    assert (info.state, info.error) == ("available", "")
    assert info.file == str(package / "inner.py")
    assert "acme_deep" not in sys.modules


def test_among_600_distributions_only_an_owners_metadata_is_parsed_and_once(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(600):
        group = "fedk.balancers" if number % 100 == 0 else "console_scripts"
        site.install(f"dist-{number}", f"[{group}]\none{number} = m{number}:C\ntwo{number} = m{number}:D")
    parsed: list[str] = []
    read_text = PathDistribution.read_text

    def counted(self: PathDistribution, filename: str) -> str | None:
        if filename == "METADATA" and self.locate_file("") == site.folder:
            parsed.append(filename)
        return read_text(self, filename)

    monkeypatch.setattr(PathDistribution, "read_text", counted)
    catalogue = Catalogue.scan(path=[str(site.folder)])
    assert len(catalogue.entries()) == 12
    assert len(parsed) == 6


def test_the_first_distribution_of_a_name_on_the_path_is_the_one_that_counts(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", version="2.0")
    other = site.folder / "other"
    other.mkdir()
    type(site)(other).install("Acme.Fair", "[fedk.balancers]\nfair = acme_fair:Fair", version="1.0")
    (entry,) = scan([str(site.folder), str(other)])
    assert entry.owner.version == "2.0"


def test_one_malformed_line_hides_no_other_entry_point(site: Any) -> None:
    site.install("acme", "[fedk.balancers]\nnonsense\nhalf = acme\n# a comment\ngood = acme:Fair\n[fedk.db]\nx = a b:c")
    found = one_by_name(Catalogue.scan(path=[str(site.folder)]))
    assert {name: info.state for name, info in found.items()} == {
        "nonsense": "failed", "half": "failed", "good": "available", "x": "failed",
    }  # fmt: skip
    assert found["half"].error == (
        'cannot be loaded: its entry point "half = acme" is malformed: wants NAME = MODULE:CLASS'
    )
    assert found["half"].hint == "Ask the authors of acme 1.0, or choose another."


@pytest.mark.parametrize("metadata", ["", "Name: acme", "Name: acme\nVersion: 1\nRequires-Dist: fedk >>> 1"])
def test_metadata_that_cannot_be_read_is_said_of_that_plugin_and_hides_no_other(site: Any, metadata: str) -> None:
    site.install("acme", "[fedk.balancers]\nbad = acme:Fair", metadata=metadata)
    site.install("good", "[fedk.balancers]\ngood = good:Fair")
    found = one_by_name(Catalogue.scan(path=[str(site.folder)]))
    assert found["good"].state == "available"
    assert found["bad"].state == "failed"
    assert "its metadata cannot be read: " in found["bad"].error


def test_entry_points_that_are_no_text_are_no_plugins(site: Any) -> None:
    site.install("acme", "")
    next(site.folder.glob("*.dist-info/entry_points.txt")).write_bytes(b"[fedk.db]\nx = \xff\xfe")
    assert scan([str(site.folder)]) == []


def test_an_unknown_group_is_shown_with_the_nearest_real_one(site: Any) -> None:
    site.install("acme", "[fedk.aggregator]\nkrum = acme:Krum\n[fedk_other]\nx = y:z")
    (info,) = Catalogue.scan(path=[str(site.folder)]).entries()
    assert (info.kind, info.state) == ("fedk.aggregator", "failed")
    assert info.error == 'is in the group "fedk.aggregator", which no family has'
    assert info.hint == 'Did you mean "fedk.aggregators"?'


@pytest.mark.parametrize(
    ("requires", "this", "fits"),
    [
        (("fedk>=0.1,<0.2",), "0.1.0", True),
        (("fedk>=0.2",), "0.1.0", False),
        (("fedk>=0.2,<0.3",), "0.2.0.dev4+local", True),
        (("fedk<0.2",), "0.2.0.dev4", False),
        (("Fedk (<0.1)",), "0.1.0", False),
        (('fedk<0.1; extra == "old"',), "0.1.0", True),
        (('fedk<0.1; python_version < "3"',), "0.1.0", True),
        (("fedk-client>=9", "fedkit>=9"), "0.1.0", True),
        (("fedk>=0.1", "fedk<0.1.5"), "0.1.7", False),
        ((), "7.0", True),
    ],
)
def test_the_fedk_that_a_plugin_asks_for_is_compared_by_base_version(
    site: Any, requires: tuple[str, ...], this: str, fits: bool
) -> None:
    site.install("acme", "[fedk.balancers]\nfair = acme:Fair", requires=requires)
    (entry,) = scan([str(site.folder)])
    obstacle = Policy(fedk=Version(this)).obstacle(entry)
    assert (obstacle is None) == fits
    assert obstacle is None or isinstance(obstacle, Obstacle)
    assert obstacle is None or obstacle.state == "incompatible"


def one_by_name(catalogue: Catalogue) -> dict[str, PluginInfo]:
    return {info.name: info for info in catalogue.entries()}
