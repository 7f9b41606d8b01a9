from pathlib import Path
from typing import Any

from fedk.state.lock import DirectoryLock


def test_a_database_that_no_server_has_used_is_made_by_upgrade_and_then_found_by_check(fedk: Any) -> None:
    outcome = fedk("db", "upgrade")
    assert (outcome.code, outcome.err) == (0, "")
    file = Path("fedk-data/fedk.sqlite").resolve()
    assert outcome.out.startswith(f"database {file}: empty → 00")
    checked = fedk("db", "check")
    assert checked.code == 0
    assert checked.out.startswith(f"database {file}: revision 00")
    assert fedk("db", "upgrade").out == checked.out


def test_a_check_of_nothing_makes_nothing(fedk: Any) -> None:
    outcome = fedk("db", "check", "--data-dir", "nowhere")
    assert outcome.code == 1
    assert outcome.err.startswith(f"fedk: database {Path('nowhere/fedk.sqlite').resolve()}: ")
    assert not Path("nowhere").exists()


def test_the_database_of_a_running_server_is_left_alone(fedk: Any) -> None:
    lock = DirectoryLock.take(Path("fedk-data").resolve())
    lock.announce("http://127.0.0.1:6080")
    try:
        for verb in ("upgrade", "check"):
            outcome = fedk("db", verb)
            assert outcome.code == 1
            assert "http://127.0.0.1:6080" in outcome.err
            assert "--url" not in outcome.err  # neither has it
    finally:
        lock.release()


def test_a_database_that_is_not_installed_is_a_mistake_of_the_configuration(fedk: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FEDK_DB__USE", "postgres")
    outcome = fedk("db", "check")
    assert outcome.code == 78
    assert outcome.err.splitlines()[1].startswith(
        '  FEDK_DB__USE   db.use = "postgres"   is not installed. Installed: '
    )
