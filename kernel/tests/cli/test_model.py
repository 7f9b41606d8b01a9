"""`fedk model` against a server behind a real port, and over its directory once it is gone."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fedk.state.lock import DirectoryLock
from fedk.testing import site as testing
from fedk.testing.site import Play, Served, weights

GOOD = Play(loss=0.25, accuracy=0.75, examples=36)


def finished(served: Served, *, rounds: int = 2, **rules: Any) -> None:
    for name in ("a", "b"):
        served.do(served.site.players.join(name, GOOD))
    served.do(served.site.start(until="session.finished", rounds=rounds, **rules))


def blob(served: Served, ref: str) -> Path:
    sha256 = served.do(served.site.get(f"models/{ref}"))["sha256"]
    (path,) = served.site.data_dir.rglob(sha256)
    return Path(path)


def test_a_list_shows_the_newest_models_and_what_to_type_next(fedk: Any, served: Served) -> None:
    assert fedk("model", "list").out == "no models yet: fedk session start FILE, or fedk model put FILE\n"
    finished(served)
    lines = fedk("model", "list", "--session", "digits-1").out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["model", "digits-1/2", "digits-1/1", "digits-1/0"]
    assert lines[4] == "3 models: fedk model get digits-1/2 -o M.safetensors"
    one = fedk("model", "list", "--limit", "1", "--json")
    assert [model["ref"] for model in json.loads(one.out)] == ["digits-1/2"]


def test_a_model_shows_its_hashes_and_tensors(fedk: Any, served: Served) -> None:
    finished(served)
    lines = fedk("model", "show", "digits-1/2").out.splitlines()
    assert lines[0] == "digits-1/2"
    assert ["tensors", "1,", "4", "weights"] in [line.split() for line in lines]
    assert ["w", "float64", "4"] in [line.split() for line in lines]
    assert lines[-1] == "next       fedk model get digits-1/2 -o M.safetensors"
    blob(served, "digits-1/2").unlink()
    assert "damaged    blob " in fedk("model", "show", "digits-1/2").out


def test_a_model_that_is_put_can_be_started_from(fedk: Any, served: Served) -> None:
    Path("M.safetensors").write_bytes(weights(0.5))
    outcome = fedk("model", "put", "M.safetensors")
    id_ = served.do(served.site.get("models"))["models"][0]["id"]
    assert outcome.out == f'model {id_}   1 tensor, 4 weights, 136 B   in a session file: model = "{id_}"\n'
    again = json.loads(fedk("model", "put", "M.safetensors", "--json").out)
    assert again["sha256"] == hashlib.sha256(weights(0.5)).hexdigest()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04 no model at all", "M.safetensors is no safetensors file"),
        (b"", "M.safetensors is no safetensors file"),
        (b"\xff" * 8 + b"{}", "bad-format"),
        (None, "M.safetensors cannot be read"),
    ],
)
def test_what_is_no_model_cannot_be_put(fedk: Any, served: Served, data: bytes | None, words: str) -> None:
    if data is not None:
        Path("M.safetensors").write_bytes(data)
    outcome = fedk("model", "put", "M.safetensors")
    assert (outcome.code, outcome.out, words in outcome.err) == (1, "", True)
    assert served.do(served.site.get("models")) == {"models": []}


def test_a_model_is_got_into_a_file_that_is_replaced_only_by_force(fedk: Any, served: Served) -> None:
    finished(served)
    outcome = fedk("model", "get", "digits-1/2", "-o", "M.safetensors")
    content = blob(served, "digits-1/2").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert outcome.out == f"digits-1/2   136 B in M.safetensors, sha256 {sha256[:8]}… as committed\n"
    assert Path("M.safetensors").read_bytes() == content
    again = fedk("model", "get", "digits-1/1", "-o", "M.safetensors")
    assert (again.code, again.err) == (
        1,
        "fedk: M.safetensors exists already: --force replaces it, -o names another file\n",
    )
    assert Path("M.safetensors").read_bytes() == content
    assert fedk("model", "get", "digits-1/1", "-o", "M.safetensors", "--force").code == 0
    assert Path("M.safetensors").read_bytes() == blob(served, "digits-1/1").read_bytes()
    named = json.loads(fedk("model", "get", "--json").out)
    assert (named["file"], Path("digits-1-2.safetensors").read_bytes()) == ("digits-1-2.safetensors", content)


def test_a_model_that_does_not_arrive_whole_leaves_no_file(fedk: Any, served: Served) -> None:
    finished(served)
    path = blob(served, "digits-1/2")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    outcome = fedk("model", "get", "digits-1/2", "-o", "M.safetensors")
    assert (outcome.code, f"blob {path.name} is damaged" in outcome.err) == (1, True)
    nowhere = fedk("model", "get", "digits-1/1", "-o", "no/such/folder/M.safetensors")
    assert (nowhere.code, nowhere.err) == (
        1,
        "fedk: no/such/folder/M.safetensors cannot be written: No such file or directory\n",
    )
    assert list(Path().glob("*.safetensors*")) + list(Path().glob(".*safetensors*")) == []


def test_a_trail_shows_parents_contributors_and_who_was_left_out(fedk: Any, served: Served) -> None:
    served.do(served.site.players.join("c", Play(refuse="non-finite", detail="w has 1 NaN of 4")))
    finished(served, round={"quorum": 0.6})
    lines = fedk("model", "trail").out.splitlines()
    assert lines[0].split() == [
        "model", "parent", "sha256", "aggregator", "updates", "validate.accuracy", "committed",
    ]  # fmt: skip
    assert lines[1].split()[:2] == ["digits-1/0", "–"]
    assert "digits-1/1  0       " in lines[2]
    assert "a b   − c refused" in lines[2]
    assert (
        lines[4]
        == "3 models, chain whole.   --verify recomputes hashes, and models of kept updates; --round N: weights, refusals"
    )
    one = fedk("model", "trail", "digits-1", "--round", "1").out.splitlines()
    assert one[0].startswith("digits-1/1   ")
    assert [line.split()[:3] for line in one[2:4]] == [["a", "36", "36"], ["b", "36", "36"]]
    assert one[4] == " − c refused: non-finite, w has 1 NaN of 4"
    none = fedk("model", "trail", "digits-1", "--round", "9")
    assert (none.code, none.err) == (1, 'fedk: no model "digits-1/9". It has digits-1/0 … digits-1/2\n')


def test_a_trail_is_verified_and_a_damaged_model_breaks_it(fedk: Any, served: Served) -> None:
    finished(served)
    outcome = fedk("model", "trail", "--verify")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (
        0,
        "3 models, chain whole.   hashes and digests recomputed",
    )
    path = blob(served, "digits-1/1")
    path.write_bytes(b"x")
    broken = fedk("model", "trail", "--verify")
    assert broken.code == 1
    assert f"digits-1/1: blob {path.name} is damaged" in broken.out
    assert broken.out.splitlines()[-1] == "3 models, chain broken.   hashes and digests recomputed"
    document = json.loads(fedk("model", "trail", "--verify", "--json").out)
    assert (document["whole"], [check["whole"] for check in document["checks"]]) == (False, [True, False, True])


def test_a_long_trail_is_read_page_by_page(fedk: Any, served: Served) -> None:
    finished(served, rounds=101, validation={"every": 0})
    assert fedk("model", "trail").out.splitlines()[-1].startswith("102 models, chain whole.")


def test_a_directory_is_read_without_its_server(fedk: Any, tmp_path: Path) -> None:
    with testing.served(tmp_path / "demo-data") as here:
        finished(here)
        locked = fedk("session", "list", "--data-dir", "demo-data")
        assert (locked.code, f"ask it: --url {here.url}" in locked.err) == (1, True)
    flags = ("--data-dir", "demo-data")
    assert (
        fedk("session", "list", *flags).out.splitlines()[-1]
        == "1 session: fedk session show digits-1 --data-dir demo-data"
    )
    shown = fedk("session", "show", *flags).out.splitlines()
    assert shown[-1] == "next       fedk model get digits-1/2 -o M.safetensors --data-dir demo-data"
    copied = fedk(*shown[-1].split()[2:])  # the line as it stands
    assert (copied.code, Path("M.safetensors").is_file()) == (0, True)
    assert fedk("model", "trail", "--verify", *flags).code == 0
    assert fedk("session", "watch", *flags).code == 0
    assert "lost" in fedk("client", "list", *flags).out
    refused = fedk("session", "resume", *flags)
    assert (
        refused.code,
        "Start a server to change it: FEDK_SERVER__DATA_DIR=demo-data fedk server" in refused.err,
    ) == (1, True)


def test_models_whose_updates_are_kept_are_made_again(fedk: Any, tmp_path: Path) -> None:
    with testing.served(tmp_path / "fedk-data") as here:
        finished(here, updates={"keep": "last:1"})
        here.do(here.site.collected())
        outcome = fedk("model", "trail", "--verify", "--url", here.url)
    assert (outcome.code, outcome.out.splitlines()[-2:], outcome.err) == (
        0,
        [
            'digits-1/1 not replayed: its updates are not kept: updates.keep = "last:1"',
            "3 models, chain whole.   hashes and digests recomputed; 1 model made again, equal to the bit",
        ],
        "",
    )
    document = json.loads(fedk("model", "trail", "--verify", "--json", "--data-dir", "fedk-data").out)
    assert [check["verified"] for check in document["checks"]] == ["hash", "hash", "replayed"]
    one = fedk("model", "trail", "--round", "2", "--verify", "--data-dir", "fedk-data").out.splitlines()
    assert one[-1] == "verified: replayed"


def test_a_model_that_is_not_what_its_updates_make_breaks_the_trail(fedk: Any, tmp_path: Path) -> None:
    with testing.served(tmp_path / "fedk-data") as here:
        finished(here, updates={"keep": "all"})
    with closing(sqlite3.connect("fedk-data/fedk.sqlite")) as db, db:
        db.execute("UPDATE models SET sha256 = (SELECT sha256 FROM models WHERE round = 1) WHERE round = 2")
    broken = fedk("model", "trail", "--verify", "--data-dir", "fedk-data")
    assert broken.code == 1
    assert "digits-1/2: made again, w differs in 4 of 4 elements, by 1 at most\n" in broken.out
    assert "digits-1/2: its digest is " in broken.out


COLLECTED = 'by models.keep = "last:1"'


def test_a_model_whose_bytes_were_collected_says_so_wherever_it_is_shown(fedk: Any, served: Served) -> None:
    finished(served, rounds=3, models={"keep": "last:1"})
    served.do(served.site.collected())
    listed = fedk("model", "list", "--session", "digits-1").out.splitlines()
    assert [line.split()[2] for line in listed[1:5]] == ["136", "collected", "collected", "136"]  # 0: what was put
    assert f"bytes      collected {COLLECTED}" in fedk("model", "show", "digits-1/2").out.splitlines()
    got = fedk("model", "get", "digits-1/2")
    assert (got.code, got.err) == (
        1,
        (
            f"fedk: the bytes of digits-1/2 were collected {COLLECTED}: its row, hash and digest stay, the model is gone. "
            "Those of digits-1/0, digits-1/3 are there\n"
        ),
    )
    assert f"digits-1/1 … digits-1/2: bytes collected {COLLECTED}" in fedk("model", "trail").out.splitlines()
    checked = json.loads(fedk("model", "trail", "--verify", "--json").out)
    assert [check["verified"] for check in checked["checks"]] == ["hash", "digest", "digest", "hash"]
    assert [model["collected"] for model in checked["models"]] == ["", COLLECTED, COLLECTED, ""]
    assert checked["whole"]


def test_no_session_starts_from_a_model_that_was_collected(fedk: Any, served: Served) -> None:
    finished(served, rounds=3, models={"keep": "last:1"})
    served.do(served.site.collected())
    Path("s.toml").write_text('model = "digits-1/1"\n')
    outcome = fedk("session", "start", "s.toml")
    assert (outcome.code, "the bytes of digits-1/1 were collected" in outcome.err) == (1, True)
    answer = served.do(served.site.rest.get("/api/v1/models/digits-1/1/content"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "collected")


def test_what_a_client_says_of_its_failure_forges_no_line_of_the_trail(fedk: Any, served: Served) -> None:
    for name, play in (("a", Play()), ("b", Play()), ("c", Play(fail="raised", detail="oom\n\x1b[2Jall is well"))):
        served.do(served.site.players.join(name, play))
    served.do(served.site.start(until="session.finished", clients={"min": 3}, round={"quorum": 0.5, "retries": 0}))
    assert " − c failed: raised, oom\\n\\x1b[2Jall is well\n" in fedk("model", "trail", "--round", "1").out


def test_a_model_is_written_into_a_folder_under_its_own_name(fedk: Any, served: Served) -> None:
    finished(served)
    Path("models").mkdir()
    got = fedk("model", "get", "digits-1/2", "-o", "models")
    assert (got.code, Path("models", "digits-1-2.safetensors").is_file()) == (0, True)


def test_a_folder_that_no_server_has_used_is_told_from_one_that_has(fedk: Any, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "demo-data")
    DirectoryLock.take(tmp_path / "demo-data").release()
    listed = fedk("session", "list", "--data-dir", ".")
    assert (listed.code, listed.err) == (
        1, "fedk: . is no data_dir: no server and no fedk run has used it. In it: demo-data.\n",
    )  # fmt: skip
    assert not Path("fedk.sqlite").exists()
