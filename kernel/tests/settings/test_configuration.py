from pathlib import Path

import pytest

from fedk.api.errors import ConfigError
from fedk.settings import Configuration, Settings, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "fedk.toml") -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    return path


def screen(configuration: Configuration) -> list[str]:
    with pytest.raises(ConfigError) as error:
        configuration.checked()
    assert error.value.exit_code == 78
    return str(error.value).splitlines()


def test_without_a_file_everything_has_its_default() -> None:
    settings = load().checked()
    assert settings == Settings()
    assert (settings.server.listen, settings.server.admin) == ("127.0.0.1:6090", "127.0.0.1:6080")
    assert (settings.db.use, settings.storage.use, settings.balancer.use) == ("sqlite", "local", "least-loaded")
    assert settings.limits.intake_bytes == 256 * 2**20


def test_the_fedk_toml_of_the_folder_is_read_unless_another_is_named() -> None:
    written('[server]\nname = "here"\n')
    other = written('[server]\nname = "there"\n', "other.toml")
    assert load().checked().server.name == "here"
    assert load(other).checked().server.name == "there"


def test_every_section_and_key_of_the_file_can_be_written() -> None:
    written(
        """
        [server]
        name = "root"
        role = "standalone"
        parent = []
        listen = "0.0.0.0:6090"
        admin = "[::]:6080"
        advertise = ["fl.example.org:6090"]
        insecure = true
        data_dir = "/var/lib/fedk"
        [db]
        use = "sqlite"
        [db.sqlite]
        path = "x"
        [storage]
        use = "local"
        [balancer]
        use = "least-loaded"
        [updates]
        durable = "local"
        [limits]
        intake_bytes = "1 MiB"
        spool_bytes = 1_000_000
        accumulators = "2 GB"
        message_bytes = "4 MiB"
        [plugins]
        hooks = ["event-log"]
        disabled = ["a"]
        allow = []
        strict = false
        lock = "fedk.lock"
        budget = 3
        gate_seconds = "2s"
        [hooks.event-log]
        path = "y"
        [log]
        level = "debug"
        format = "json"
        """
    )
    settings = load().checked()
    assert settings.server.data_dir == Path("/var/lib/fedk")
    assert settings.db.tables == {"sqlite": {"path": "x"}}
    assert (settings.plugins.hooks, settings.hooks) == (("event-log",), {"event-log": {"path": "y"}})
    assert (settings.plugins.lock, settings.plugins.gate_seconds) == ("fedk.lock", 2.0)
    assert (settings.limits.spool_bytes, settings.limits.accumulators) == (10**6, 2 * 10**9)
    assert settings.server.exposed == ["listen", "admin"]


def test_all_mistakes_are_named_at_once_with_line_key_value_and_what_is_allowed() -> None:
    written(
        """
[server]
listen = "6090"
insecure = 3
[storage]
use = 4
[limits]
intake_bytes = "256 MB/s"
mesage_bytes = 100000
message_bytes = "1 MiB"
[log]
level = "loud"
[plugins]
budget = 0
disabled = "x"
""".lstrip()
    )
    units = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
    assert screen(load()) == [
        "fedk.toml: 9 mistakes",
        '  line 2    server.listen = "6090"             wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"',
        "  line 3    server.insecure = 3                wants true or false",
        "  line 5    storage.use = 4                    wants text, in quotes",
        f'  line 7    limits.intake_bytes = "256 MB/s"   wants a number with one of {units}, for example "256 MiB"',
        "  line 8    limits.mesage_bytes = 100000       is not a key here. Did you mean limits.message_bytes?",
        (
            '  line 9    limits.message_bytes = "1 MiB"     '
            "is less than a combiner's messages to its parent may have: name 2 MiB or more"
        ),
        '  line 11   log.level = "loud"                 wants "debug", "info", "warning" or "error"',
        "  line 13   plugins.budget = 0                 must be ≥ 1",
        '  line 14   plugins.disabled = "x"             wants a list, for example ["a", "b"]',
    ]


def test_an_unknown_section_names_the_nearest() -> None:
    written('[servr]\nname = "x"\n')
    assert screen(load()) == [
        "fedk.toml: 1 mistake",
        "  line 1   [servr]   is not a section here. Did you mean [server]?",
    ]


def test_a_key_in_the_wrong_section_names_the_section_that_has_it() -> None:
    written('[server]\nlevel = "debug"\n')
    assert screen(load())[1].endswith("is not a key here. Did you mean log.level?")


def test_a_key_above_every_section_names_the_section_that_has_it() -> None:
    written('listen = "127.0.0.1:1"\n')
    assert screen(load())[1] == '  line 1   listen = "127.0.0.1:1"   is not a key here. Did you mean server.listen?'


def test_a_drivers_key_beside_use_is_told_where_it_goes() -> None:
    written('[db]\nuse = "postgres"\nurl_file = "/run/x"\n')
    assert screen(load())[1] == (
        '  line 3   db.url_file = "/run/x"   is not a key here: '
        "a driver's keys stand under its name, [db.postgres] url_file = …"
    )


def test_a_section_that_is_no_table_is_a_mistake() -> None:
    written("server = 3\n")
    assert screen(load())[1] == "  line 1   server = 3   wants a table"


def test_quoted_and_dotted_keys_are_placed_too() -> None:
    written('server."listen" = 1\nlog . level = 2\n[ "limits" ]  # "x"\n"budget" = 3\n')
    assert [line.split("   ")[0].strip() for line in screen(load())[1:]] == ["line 1", "line 2", "line 4"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nlisten\n", "  line 2, column 7   is not TOML: expected '=' after a key in a key/value pair"),
        ('[server]\nname = "x\n', "is not TOML: "),
        ("a = " + "[" * 5_000 + "]" * 5_000, "somewhere   is not TOML: "),
        ("a = " + "9" * 5_000, "somewhere   is not TOML: exceeds the limit"),
        ("a = 1\na = 2\n", "line 2, column 6   is not TOML: cannot overwrite a value"),
    ],
)
def test_a_file_that_is_no_toml_is_placed(text: str, line: str) -> None:
    written(text)
    with pytest.raises(ConfigError) as error:
        load()
    assert str(error.value).startswith("fedk.toml: 1 mistake\n")
    assert line in str(error.value)


def test_a_named_file_that_is_missing_names_the_nearest_there(folder: Path) -> None:
    written("", "fedk.toml")
    with pytest.raises(ConfigError) as error:
        load(Path("fdek.toml"))
    assert str(error.value) == f"no file fdek.toml (in {folder}). Did you mean fedk.toml?"
    assert error.value.exit_code == 78


def test_a_folder_in_the_files_place_and_bytes_that_are_no_text_are_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(folder)
    Path("fedk.toml").write_bytes(b"[server]\nname = '\xff'\n")
    with pytest.raises(ConfigError, match=r"fedk\.toml is not UTF-8 text: byte 17 is 0xff"):
        load()


def test_a_byte_order_mark_is_no_mistake() -> None:
    Path("fedk.toml").write_bytes(b'\xef\xbb\xbf[server]\nname = "x"\n')
    assert load().checked().server.name == "x"


@pytest.mark.parametrize("key", ["listen", "admin"])
def test_listening_beyond_this_machine_must_be_said(key: str) -> None:
    written(f'[server]\n{key} = "0.0.0.0:7000"\n')
    assert screen(load())[1] == (
        f'  line 2   server.{key} = "0.0.0.0:7000"   is beyond this machine, without TLS and tokens: '
        'set server.insecure = true to allow that, or listen on "127.0.0.1:7000"'
    )
    written(f'[server]\ninsecure = true\n{key} = "0.0.0.0:7000"\n')
    assert load().checked().server.exposed == [key]


def test_an_exposed_port_is_found_beside_other_mistakes_of_the_section() -> None:
    written('[server]\nlisten = "0.0.0.0:1"\nadmin = "x"\nnmae = "y"\n')
    assert len(screen(load())) == 1 + 3


def test_both_listeners_on_one_port_is_a_mistake() -> None:
    written('[server]\nlisten = "127.0.0.1:7"\nadmin = "127.0.0.1:7"\n')
    assert screen(load())[1].endswith("is server.listen too: give each a port of its own")
    written('[server]\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n')
    load().checked()


@pytest.mark.parametrize(
    "line",
    ['updates.durable = "storage"'],
)
def test_what_this_version_does_not_do_is_refused_and_not_ignored(line: str) -> None:
    written(line)
    assert "is not in this version" in screen(load())[1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('role = "combiner"', 'wants parent = ["HOST:PORT"]'),
        ('parent = ["a:1"]', "parent is of a combiner, and this server is standalone"),
        ('role = "combiner"\nparent = ["a:1"]\nname = "a.b"', "1 to 40 of A–Z a–z 0–9 _ -"),
    ],
)
def test_a_role_and_its_parent_go_together(lines: str, said: str) -> None:
    written(f"[server]\n{lines}\n")
    assert said in screen(load())[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('advertise = ["fl.example.org"]', 'wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"'),
        ('advertise = ["fl.example.org:0"]', "ports are 1 to 65535"),
        ('role = "combiner"\nparent = ["root:0"]', "ports are 1 to 65535"),
    ],
)
def test_an_address_that_others_are_to_dial_is_one_that_they_can(line: str, said: str) -> None:
    written(f"[server]\n{line}\n")
    assert said in screen(load())[1]


def test_drivers_are_handed_on_even_from_a_section_with_mistakes() -> None:
    written('[db]\nus = "x"\n[db.sqlite]\npath = 3\n[storage]\nuse = 3\n')
    assert load().drivers == {
        "db": {"use": "sqlite", "sqlite": {"path": 3}},
        "storage": {"use": "local"},
        "balancer": {"use": "least-loaded"},
    }
