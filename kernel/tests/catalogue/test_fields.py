"""Settings of a codec, which are the fields of its dataclass."""

import pytest

from fedk.api.errors import ConfigError
from fedk.catalogue import Catalogue
from fedk.catalogue.fields import config_of_fields
from fedk.catalogue.key import keys
from fedk_plugin_top_k import TopK


def test_their_bounds_defaults_and_descriptions_are_the_keys() -> None:
    (key,) = keys(config_of_fields(TopK))
    assert (key.name, key.default, key.allowed) == ("fraction", "0.1", "> 0 … 1")
    assert key.meaning == "share of each tensor's elements that is sent"


def test_a_codec_is_made_with_its_own_table() -> None:
    catalogue = Catalogue.scan()
    assert catalogue.create("codec", "top-k", {"top-k": {"fraction": 0.5}}) == TopK(0.5)
    assert catalogue.create("codec", "top-k") == TopK()
    info = catalogue.show("top-k", "codec")
    assert (info.state, info.settings) == ("active", {"fraction": 0.1})


@pytest.mark.parametrize(
    ("table", "says"),
    [({"fraction": 0}, "must be > 0"), ({"fraction": 2}, "must be ≤ 1"), ({"k": 3}, "k = 3   is not a key here")],
)
def test_what_is_wrong_in_it_is_said_before_a_session_begins(table: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        Catalogue.scan().create("codec", "top-k", {"top-k": table})
    assert says in str(wrong.value), str(wrong.value)
