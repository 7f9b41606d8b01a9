from typing import Any

import pytest

from fedk.api.errors import ConfigError, PluginError
from fedk.catalogue import Catalogue

STARTS_BADLY = """
from fedk.api.balancer import Balancer
from fedk.api.config import Config

class Fair(Balancer[Config]):
    def __init__(self, config=None):
        raise OSError("the registry is down")
    def assign(self, client, servers):
        return None
"""


@pytest.fixture
def catalogue(site: Any) -> Catalogue:
    site.install("acme-fair", "[fedk.balancers]\nfair-one = acme_fair:Fair", module="acme_fair")
    site.install("acme-idle", "[fedk.balancers]\nidle = acme_idle:Fair", module="acme_idle")
    return Catalogue.scan(path=[str(site.folder)])


def test_a_driver_gets_the_keys_of_its_own_table_and_no_others(catalogue: Catalogue) -> None:
    tables = {"fair-one": {"weight": 2}, "idle": {"weight": 3}}
    assert catalogue.create("balancer", "fair-one", tables).config.weight == 2
    assert catalogue.create("balancer", "acme-idle:idle", tables).config.weight == 3


def test_without_a_table_a_driver_has_its_defaults(catalogue: Catalogue) -> None:
    assert catalogue.create("balancer", "fair-one").config.weight == 1


def test_a_table_may_be_spelt_with_underscores(catalogue: Catalogue) -> None:
    assert catalogue.create("balancer", "fair-one", {"fair_one": {"weight": 2}}).config.weight == 2


def test_every_wrong_key_of_a_table_is_named_at_once(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError) as error:
        catalogue.create("balancer", "fair-one", {"fair-one": {"wieght": 2, "weight": 0, "url": 5}})
    assert str(error.value).splitlines() == [
        'balancer "fair-one": 3 mistakes',
        "  balancer.fair-one.weight = 0   must be > 0",
        "  balancer.fair-one.url = 5      wants text, in quotes",
        "  balancer.fair-one.wieght = 2   is not a key here. Did you mean balancer.fair-one.weight?",
    ]


def test_a_wrong_secret_is_not_repeated(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError) as error:
        catalogue.create("balancer", "fair-one", {"fair-one": {"password": 4711}})
    assert "4711" not in str(error.value)


def test_an_inspection_shows_settings_without_secrets(catalogue: Catalogue) -> None:
    table = {"password": "hunter2", "url": "postgres://ana:hunter2@db/x"}
    catalogue.create("balancer", "fair-one", {"fair-one": table})
    info = catalogue.show("fair-one")
    assert info.state == "active"
    assert info.settings == {"weight": 1.0, "password": "…", "url": "postgres://ana:…@db/x"}
    assert info.config_schema is not None
    assert info.config_schema["properties"]["weight"]["description"] == "how much a client weighs"


def test_a_driver_that_cannot_start_is_named_with_its_cause(site: Any) -> None:
    site.install("acme-down", "[fedk.balancers]\ndown = acme_down:Fair", module="acme_down", source=STARTS_BADLY)
    catalogue = Catalogue.scan()
    with pytest.raises(PluginError, match=r'"down" of acme-down 1.0 cannot start: OSError: the registry is down \(x\)'):
        catalogue.create("balancer", "down", where="x")
    assert catalogue.show("down").state == "failed"


def test_a_check_finds_what_is_wrong_with_the_selected_driver(catalogue: Catalogue) -> None:
    (mistake,) = catalogue.check({"balancer": {"use": "fair-one", "fair-one": {"wieght": 2}}})
    assert mistake.key == ("balancer", "fair-one", "wieght")


def test_a_check_finds_a_driver_that_is_not_installed(catalogue: Catalogue) -> None:
    (mistake,) = catalogue.check({"balancer": {"use": "fair-oen"}})
    assert (mistake.subject, mistake.key) == ('balancer.use = "fair-oen"', ("balancer", "use"))
    assert mistake.text == (
        'is not installed. Installed: fair-one, idle. Did you mean "fair-one"?  pip install fedk-plugin-<name> adds one, for the next start.'
    )


def test_a_table_of_a_driver_that_is_not_installed_is_a_mistake(catalogue: Catalogue) -> None:
    (mistake,) = catalogue.check({"balancer": {"use": "fair-one", "idel": {}}})
    assert str(mistake) == (
        "[balancer.idel] is for a driver that is not installed. Installed: fair-one, idle. Did you mean [balancer.idle]?"
    )


def test_the_table_of_a_driver_that_is_not_selected_is_checked_when_asked(catalogue: Catalogue) -> None:
    sections = {"balancer": {"use": "fair-one", "idle": {"wieght": 2}}}
    assert catalogue.check(sections) == []
    assert catalogue.show("idle").import_ms is None
    (mistake,) = catalogue.check(sections, idle=True)
    assert str(mistake) == "balancer.idle.wieght = 2 is not a key here. Did you mean balancer.idle.weight?"


def test_a_check_names_every_mistake_of_every_section_at_once(catalogue: Catalogue) -> None:
    sections: dict[str, dict[str, Any]] = {
        "balancer": {"use": "x", "idel": {}},
        "db": {"use": "sqlite"},
        "storage": {"use": "fair-one"},
    }
    assert [m.key for m in catalogue.check(sections)] == [
        ("balancer", "use"), ("balancer", "idel"), ("db", "use"), ("storage", "use"),
    ]  # fmt: skip


def test_a_driver_that_breaks_at_import_is_a_mistake_of_the_check(site: Any) -> None:
    site.install("acme-bad", "[fedk.balancers]\nbad = acme_bad:Fair", module="acme_bad", source="raise SystemExit(1)")
    (mistake,) = Catalogue.scan(path=[str(site.folder)]).check({"balancer": {"use": "bad"}})
    assert mistake.text.startswith("cannot be loaded: SystemExit: 1. Ask the authors of acme-bad")
