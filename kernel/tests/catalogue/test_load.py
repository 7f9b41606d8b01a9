import shutil
import sys
from typing import Any

import pytest

from fedk.api.errors import Conflict, NotFound, PluginError
from fedk.catalogue import Catalogue

SETTINGS = "from fedk.api.config import Config\nfrom fedk.api.balancer import Balancer\n"


def test_a_driver_is_imported_when_it_is_chosen_and_not_before(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", version="2.1", module="acme_fair")
    catalogue = Catalogue.scan()
    assert "acme_fair" not in sys.modules
    plugin = catalogue.load("balancer", "fair")
    assert (plugin.distribution, plugin.version, plugin.cls.__name__) == ("acme-fair", "2.1", "Fair")
    assert catalogue.load("balancer", "fair") is plugin


def test_a_driver_that_is_not_installed_is_named_with_place_choices_and_next_step(site: Any) -> None:
    site.install("acme-s3", "[fedk.storage]\ns3 = acme_s3:S3")
    site.install("acme-local", "[fedk.storage]\nlocal = acme_local:Local")
    with pytest.raises(PluginError) as error:
        Catalogue.scan(path=[str(site.folder)]).load("storage", "s4", where="fedk.toml: storage.use")
    assert str(error.value) == (
        'storage "s4" is not installed (fedk.toml: storage.use). Installed: local, s3. Did you mean "s3"?'
        "  pip install fedk-plugin-<name> adds one, for the next start."
    )
    assert error.value.exit_code == 78


def test_on_the_bare_kernel_the_message_says_how_the_defaults_come(site: Any) -> None:
    with pytest.raises(PluginError, match=r"Installed: none.  pip install 'fedk\[standard\]'"):
        Catalogue.scan(path=[str(site.folder)]).load("db", "sqlite")


def test_two_packages_that_claim_a_selected_name_are_both_named_with_both_ways_out(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair")
    site.install("zeta-fair", "[fedk.balancers]\nfair = zeta_fair:Fair", version="3", module="zeta_fair")
    catalogue = Catalogue.scan()
    with pytest.raises(PluginError) as error:
        catalogue.load("balancer", "fair", where="fedk.toml line 2: balancer.use")
    assert str(error.value) == (
        'balancer "fair" is claimed by acme-fair 1.0 and zeta-fair 3 (fedk.toml line 2: balancer.use). '
        "Remove one (pip uninstall acme-fair or pip uninstall zeta-fair), "
        'or say which: use = "acme-fair:fair" or use = "zeta-fair:fair".'
    )
    assert "acme_fair" not in sys.modules
    assert catalogue.load("balancer", "zeta_fair:fair").distribution == "zeta-fair"


def test_of_two_that_claim_a_name_each_names_the_other_until_one_is_selected(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair")
    site.install("zeta-fair", "[fedk.balancers]\nfair = zeta_fair:Fair", version="3", module="zeta_fair")
    catalogue = Catalogue.scan(path=[str(site.folder)])
    assert [(i.state, i.error) for i in catalogue.entries()] == [
        ("available", "is also in zeta-fair 3"),
        ("available", "is also in acme-fair 1.0"),
    ]
    catalogue.create("balancer", "zeta-fair:fair")
    assert [(i.distribution, i.state) for i in catalogue.entries()] == [
        ("acme-fair", "shadowed"),
        ("zeta-fair", "active"),
    ]
    assert catalogue.show("fair").distribution == "zeta-fair"


def test_an_incompatible_driver_is_refused_before_its_import(site: Any) -> None:
    entry = "[fedk.balancers]\nfair = acme_fair:Fair"
    site.install("acme-fair", entry, requires=("fedk<0.1",), module="acme_fair")
    with pytest.raises(PluginError, match=r'balancer "fair" wants fedk<0.1, this is .*pip install -U acme-fair'):
        Catalogue.scan().load("balancer", "fair")
    assert "acme_fair" not in sys.modules


@pytest.mark.parametrize(
    ("source", "cause", "text"),
    [
        ("raise ValueError('no such key')", ValueError, "cannot be loaded: ValueError: no such key"),
        ("raise SystemExit(3)", SystemExit, "cannot be loaded: SystemExit: 3"),
        ("assert False, 'never'", AssertionError, "cannot be loaded: AssertionError: never"),
        ("import acme_nowhere", ModuleNotFoundError, "No module named 'acme_nowhere'"),
        ("Fair = (", SyntaxError, "cannot be loaded: SyntaxError"),
        ("x = 1", AttributeError, "has no attribute 'Fair'"),
        ("Fair = 7", None, "acme_bad:Fair is no Balancer (fedk.api.balancer.Balancer)"),
        ("class Fair: pass", None, "acme_bad:Fair is no Balancer (fedk.api.balancer.Balancer)"),
        (
            SETTINGS + "class Fair(Balancer[Config]): pass",
            None,
            "acme_bad:Fair implements half of Balancer: it lacks assign()",
        ),
    ],
)
def test_a_driver_that_cannot_be_loaded_is_named_with_its_cause(
    site: Any, source: str, cause: type[BaseException] | None, text: str
) -> None:
    site.install("acme-bad", "[fedk.balancers]\nfair = acme_bad:Fair", module="acme_bad", source=source)
    catalogue = Catalogue.scan(path=[str(site.folder)])
    with pytest.raises(PluginError) as error:
        catalogue.load("balancer", "fair")
    assert str(error.value).startswith('balancer "fair" of acme-bad 1.0 ')
    assert text in str(error.value)
    assert cause is None or isinstance(error.value.__cause__, cause)
    (info,) = catalogue.entries()
    assert (info.state, text in info.error) == ("failed", True)
    assert info.hint
    assert info.traceback.splitlines()[-1].rpartition(": ")[2] in str(error.value)


def test_a_driver_that_was_removed_since_the_scan_is_missing(site: Any) -> None:
    site.install("acme-gone", "[fedk.balancers]\nfair = acme_gone:Fair", module="acme_gone")
    catalogue = Catalogue.scan(path=[str(site.folder)])
    shutil.rmtree(site.folder)
    with pytest.raises(PluginError, match=r"Its files are gone:  pip install --force-reinstall acme-gone"):
        catalogue.load("balancer", "fair")
    assert catalogue.show("fair").state == "missing"


def test_a_disabled_driver_is_not_imported(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair")
    for name in ("fair", "acme-fair:fair"):
        catalogue = Catalogue.scan(disabled=[name])
        with pytest.raises(PluginError, match=r'"fair" is disabled. Take it out of plugins.disabled'):
            catalogue.load("balancer", "fair")
        assert catalogue.show("fair").state == "disabled"
        assert "fair" not in catalogue.drivers("balancer")
    assert "acme_fair" not in sys.modules


def test_with_an_allow_list_nothing_else_is_imported(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair\nother = acme_fair:Fair", module="acme_fair")
    catalogue = Catalogue.scan(allow=["other"])
    with pytest.raises(PluginError, match=r'"fair" is not allowed. Add "fair" to plugins.allow'):
        catalogue.load("balancer", "fair")
    assert catalogue.load("balancer", "other").name == "other"


def test_disabling_one_of_two_that_claim_a_name_leaves_the_other_selected(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair")
    site.install("zeta-fair", "[fedk.balancers]\nfair = zeta_fair:Fair", module="zeta_fair")
    assert Catalogue.scan(disabled=["acme-fair:fair"]).load("balancer", "fair").distribution == "zeta-fair"


def test_a_driver_that_is_asked_for_and_not_installed_is_shown_as_missing(site: Any) -> None:
    catalogue = Catalogue.scan(path=[str(site.folder)])
    catalogue.ask("db", "postgres")
    (info,) = catalogue.entries()
    assert (info.kind, info.name, info.state, info.error) == ("db", "postgres", "missing", "is not installed")


def test_a_name_that_nothing_has_is_answered_with_what_there_is(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair")
    catalogue = Catalogue.scan(path=[str(site.folder)])
    with pytest.raises(NotFound, match=r'no plugin "fare" is installed. Installed: fair. Did you mean "fair"\?'):
        catalogue.show("fare")


def test_a_name_in_two_families_wants_its_kind(site: Any) -> None:
    site.install("acme", "[fedk.storage]\nlocal = acme:S\n[fedk.db]\nlocal = acme:D")
    catalogue = Catalogue.scan(path=[str(site.folder)])
    with pytest.raises(Conflict, match="storage acme:local, db acme:local"):
        catalogue.show("local")
    assert catalogue.show("local", "db").kind == "db"


def test_a_name_that_a_request_brings_is_refused_and_not_kept(site: Any) -> None:
    catalogue = Catalogue.scan(path=[str(site.folder)])
    with pytest.raises(PluginError):
        catalogue.create("aggregator", "anything")
    assert catalogue.entries() == []


def test_a_codec_has_no_settings_and_needs_no_kernel_class() -> None:
    assert Catalogue.scan().create("codec", "safetensors").name == "safetensors"
