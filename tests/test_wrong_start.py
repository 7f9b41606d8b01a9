"""Mistakes at the start: one screen, the right exit code, nothing left behind."""

import socket
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT, Fedk, Served

ECHO = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"


def taken() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_taken_port_is_named_and_never_shared(fedk: Fedk) -> None:
    for key in ("LISTEN", "ADMIN"):
        listener, address = taken()
        free = {"FEDK_SERVER__LISTEN": "127.0.0.1:0", "FEDK_SERVER__ADMIN": "127.0.0.1:0"}
        with listener:
            ended = fedk("server", code=78, env=free | {f"FEDK_SERVER__{key}": address})
        assert address in ended.err
        assert f"server.{key.lower()}" in ended.err
        assert "Traceback" not in ended.err


def test_two_servers_do_not_share_a_port(fedk: Fedk, serve: Callable[..., Served]) -> None:
    first = serve()
    env = {
        "FEDK_SERVER__LISTEN": first.listen,
        "FEDK_SERVER__ADMIN": "127.0.0.1:0",
        "FEDK_SERVER__DATA_DIR": "other",
    }
    assert first.listen in fedk("server", code=78, env=env).err


def test_two_servers_do_not_share_a_data_directory(fedk: Fedk, serve: Callable[..., Served]) -> None:
    first = serve()
    env = {"FEDK_SERVER__LISTEN": "127.0.0.1:0", "FEDK_SERVER__ADMIN": "127.0.0.1:0"}
    ended = fedk("server", code=1, env=env)
    assert first.admin in ended.err
    asked = fedk("session", "list", "--data-dir", "fedk-data", code=1)
    assert first.admin in asked.err


def test_a_data_directory_that_cannot_be_written_is_named(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = {"FEDK_SERVER__DATA_DIR": "file/data"}
    ended = fedk("server", code=1, env=env)
    assert "server.data_dir" in ended.err
    assert "Traceback" not in ended.err
    assert "/file is a file. Name a directory" in fedk("server", code=1, env={"FEDK_SERVER__DATA_DIR": "file"}).err


def test_listening_beyond_loopback_needs_insecure(fedk: Fedk) -> None:
    ended = fedk("server", code=78, env={"FEDK_SERVER__ADMIN": "0.0.0.0:0"})
    assert "server.insecure" in ended.err


def test_all_mistakes_of_a_file_are_told_at_once(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "fedk.toml").write_text(
        '[server]\nlisten = "6090"\n[storage]\nuse = "s4"\n[limits]\nmax_exmaples = 1\n'
    )
    ended = fedk("config", "check", code=78)
    assert [word in ended.err for word in ("line 2", "line 4", "line 6")] == [True] * 3
    assert fedk("server", code=78).err == ended.err


def test_a_misspelt_file_is_met_with_the_nearest_one(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("")
    assert "client.py" in fedk("run", "clinet.py:app", code=2).err


def test_a_file_that_cannot_be_imported_ends_the_run_with_its_reason(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("import torhc\n")
    ended = fedk("run", "client.py:app", "--clients", "2", code=1)
    assert "torhc" in ended.err


def test_a_missing_model_file_is_named_by_its_hash(fedk: Fedk, serve: Callable[..., Served], tmp_path: Path) -> None:
    document = fedk("run", ECHO, "--clients", "2", "--rounds", "2", "--data-dir", "fedk-data", "--json").json
    blob = next((tmp_path / "fedk-data" / "blobs").rglob(document["model"]))
    blob.write_bytes(b"damaged")
    server = serve()
    ended = fedk("model", "get", "latest", "-o", "m.safetensors", code=None, env={"FEDK_URL": server.admin})
    assert ended.code == 1
    assert document["model"][:8] in ended.err
