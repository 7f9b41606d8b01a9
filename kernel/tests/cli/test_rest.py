"""Whom the command line asks, and what it says when nobody answers."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedk.testing.site import Served


@pytest.fixture
def nobody() -> Iterator[str]:
    """HOST:PORT where nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def configured(admin: str) -> None:
    Path("fedk.toml").write_text(f'[server]\nadmin = "{admin}"\n')


def test_without_server_and_directory_both_ways_out_are_named(fedk: Any, nobody: str) -> None:
    configured(nobody)
    outcome = fedk("session", "list")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == f"fedk: no server at {nobody}, no fedk-data here: give --url URL or --data-dir DIR\n"


def test_a_directory_that_is_here_is_offered(fedk: Any, nobody: str) -> None:
    configured(nobody)
    Path("fedk-data").mkdir()
    assert fedk("session", "list").err == (
        f"fedk: no server at {nobody}: start it (fedk server), or read its directory: --data-dir fedk-data\n"
    )


def test_a_url_where_nobody_answers_is_named(fedk: Any, nobody: str) -> None:
    outcome = fedk("session", "list", "--url", f"http://{nobody}")
    assert outcome.err == f"fedk: no server at {nobody}. Start it, or give --url URL or --data-dir DIR\n"


def test_the_address_comes_from_flag_environment_or_configuration(
    fedk: Any, served: Served, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = served.url.removeprefix("http://")
    assert fedk("session", "list").code == 0  # FEDK_URL
    monkeypatch.setenv("FEDK_URL", f"http://{nobody}")
    assert fedk("session", "list").code == 1
    assert fedk("session", "list", "--url", address).code == 0  # without http://
    monkeypatch.delenv("FEDK_URL")
    configured(address)
    assert fedk("session", "list").code == 0
    configured(f"0.0.0.0:{address.partition(':')[2]}")  # who listens everywhere is asked here
    assert fedk("session", "list").code == 0


def test_the_directory_wins_over_the_environment_but_not_over_the_flag(
    fedk: Any, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDK_URL", f"http://{nobody}")
    assert "no directory demo-data" in fedk("session", "list", "--data-dir", "demo-data").err
    both = fedk("session", "list", "--data-dir", "demo-data", "--url", f"http://{nobody}")
    assert (both.code, "give one of them" in both.err) == (2, True)


@pytest.mark.usefixtures("served")
def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(
    fedk: Any, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{nobody}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert fedk("session", "list").code == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "is no fedk server"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad", "answered 502: is it a fedk server?"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak REST"),
        (b"", "does not speak REST"),
    ],
)
def test_what_is_no_fedk_server_is_recognised(fedk: Any, answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        outcome = fedk("session", "list", "--url", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (outcome.code, outcome.out, words in outcome.err) == (1, "", True)
    assert "--data-dir DIR" in outcome.err


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://[::1"])
def test_a_url_that_is_none_is_wrong_usage(fedk: Any, url: str) -> None:
    outcome = fedk("session", "list", "--url", url)
    assert (outcome.code, outcome.out) == (2, "")
    assert "For example http://127.0.0.1:6080" in outcome.err


@pytest.mark.usefixtures("served")
def test_a_project_that_does_not_exist_is_named_with_those_that_do(fedk: Any) -> None:
    outcome = fedk("session", "list", "--project", "othr")
    assert (outcome.code, outcome.err) == (1, 'fedk: project "othr" does not exist here. Projects: default\n')
