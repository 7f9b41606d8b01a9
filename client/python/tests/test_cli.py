import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

import fedk_client
from fedk.testing.protocol import ScriptedServer
from fedk_client.cli import main
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb

APP = """
import threading
import numpy as np
from fedk_client import Client, ClientApp, Task, Update

print("user code prints")

def data(me: Client) -> str:
    return f"{me.name} {me.part}/{me.parts} {me.options} {me.attributes}"

app = ClientApp(model=lambda: {"w": np.random.rand(2)}, data=data)

@app.train
def train(net: dict, task: Task[str]) -> Update:
    task.log(task.data)
    assert threading.current_thread() is threading.main_thread()
    if task.setting("forever", False):
        while True:
            pass
    return Update(net, num_examples=1)
"""

Spawn = Callable[..., Awaitable[Process]]


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "client.py").write_text(APP)
    return f"{tmp_path}/client.py:app"


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    """`python -m fedk_client …` in a process of its own."""
    processes: list[Process] = []

    async def begin(*arguments: str, module: str = "fedk_client", script: str = 'exec "$@"') -> Process:
        command = ["sh", "-c", script, "sh", sys.executable, "-m", module, *arguments]
        processes.append(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE))
        return processes[-1]

    yield begin
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


def asked(model: pb.Blob, settings: str = "") -> pb.Task:
    return pb.Task(id="t1", kind="train", session="s", round=1, inputs={"model": model}, settings=settings)


async def ended(process: Process) -> tuple[int | None, str]:
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


async def test_run_works_in_the_main_thread_until_sigterm_and_exits_0(
    server: ScriptedServer, spawn: Spawn, app: str
) -> None:
    process = await spawn(
        "run", app, "--server", server.address, "--name", "a", "--part", "1/5", "--option", "data=/mnt=x", "--attribute", "site=north",
    )  # fmt: skip
    client = await server.joined()
    initial = pb.Task(id="t0", kind="init", session="s")
    await client.send(task=initial)
    weights = (await client.next("result")).blobs["model"]
    await client.send(task=asked(weights))
    assert (await client.next("log")).text == "a 1/5 {'data': '/mnt=x'} {'site': 'north'}"
    await client.next("result")
    process.terminate()
    assert (await client.next("goodbye")).reason == "stopped"
    code, stderr = await ended(process)
    assert code == 0
    assert "joined as a (instance " in stderr
    assert "stopped by SIGTERM" in stderr
    assert "2 results without a verdict lost" in stderr
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_interrupts_user_code(
    server: ScriptedServer, spawn: Spawn, app: str, number: signal.Signals, code: int
) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a")
    client = await server.joined()
    await client.send(task=pb.Task(id="t0", kind="init", session="s"))
    weights = (await client.next("result")).blobs["model"]
    await client.send(task=asked(weights, '{"forever": true}'))
    await client.next("log")
    process.send_signal(number)
    await client.next("goodbye")
    assert (await ended(process))[0] == code


async def test_an_address_that_speaks_http_1_is_told_apart_from_one_where_nobody_is(spawn: Spawn, app: str) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as admin:
        port = admin.sockets[0].getsockname()[1]
        process = await spawn("run", app, "--server", f"127.0.0.1:{port}", "--name", "a")
        assert process.stderr is not None
        line = await process.stderr.readline()
        process.terminate()
        await process.communicate()
    assert b"speaks HTTP/1: clients join at server.listen, and not at server.admin" in line


async def test_a_client_on_a_leash_ends_when_its_standard_input_does(
    server: ScriptedServer, spawn: Spawn, app: str
) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a", "--end-with-stdin")
    client = await server.joined()
    assert process.stdin is not None
    process.stdin.close()
    await client.next("goodbye")
    assert (await ended(process))[0] == 0


async def test_a_client_without_stderr_goes_on(server: ScriptedServer, spawn: Spawn, app: str) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a", script='exec "$@" 2>&-')
    client = await server.joined()
    await client.send(task=pb.Task(id="t0", kind="init", session="s"))
    weights = (await client.next("result")).blobs["model"]
    for _ in range(2):
        await client.send(task=asked(weights))
        await client.verdict(await client.next("result"), pb.OUTCOME_COMMITTED)
    process.terminate()
    await client.next("goodbye")
    assert await ended(process) == (0, "")


@pytest.mark.usefixtures("ctrl_c")
async def test_ctrl_c_while_idle_exits_130(server: ScriptedServer, spawn: Spawn, app: str) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a")
    client = await server.joined()
    process.send_signal(signal.SIGINT)
    await client.next("goodbye")
    code, stderr = await ended(process)
    assert code == 130
    assert "Traceback" not in stderr


FORKS = """
import multiprocessing
import numpy as np
from fedk_client import ClientApp, Task, Update

app = ClientApp(model=lambda: {"w": np.zeros(2)})

@app.train
def train(net: dict, task: Task[None]) -> Update:
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    children = [fork.Process(target=queue.put, args=(number,)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return Update(net, num_examples=1, metrics={"failed": sum(child.exitcode != 0 for child in children)})
"""


async def test_user_code_may_fork(server: ScriptedServer, spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    await spawn("run", f"{tmp_path}/forks.py:app", "--server", server.address, "--name", "a")
    client = await server.joined()
    model = server.offer(Safetensors().dumps({"w": np.zeros(2)}))
    for number in range(10):
        task = pb.Task(id=f"t{number}", kind="train", session="s", inputs={"model": model})
        await client.send(task=task)
        assert dict((await client.next("result")).metrics) == {"failed": 0.0}


async def test_a_refused_client_says_why_and_exits_1(server: ScriptedServer, spawn: Spawn, app: str) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a")
    await (await server.connection()).refuse("duplicate-name", "a was replaced 4 times in a minute")
    code, stderr = await ended(process)
    assert code == 1
    assert stderr.splitlines()[-1] == "fedk-client: duplicate-name: a was replaced 4 times in a minute"


async def test_a_superseded_client_says_so_and_exits_1(server: ScriptedServer, spawn: Spawn, app: str) -> None:
    process = await spawn("run", app, "--server", server.address, "--name", "a")
    await (await server.joined()).send(superseded=pb.Superseded(instance="7f3a99"))
    code, stderr = await ended(process)
    assert code == 1
    assert 'fedk-client: a newer process joined as "a" (instance 7f3a)' in stderr


async def test_initial_writes_a_model_and_one_line_of_json(spawn: Spawn, app: str, tmp_path: Path) -> None:
    out = tmp_path / "initial.safetensors"
    process = await spawn(app, str(out), module="fedk_client.initial")
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    size = out.stat().st_size
    assert json.loads(stdout) == {"tensors": 1, "weights": 2, "dtypes": ["float64"], "bytes": size}
    assert Safetensors().decode(out.read_bytes())["w"].shape == (2,)
    first = out.read_bytes()
    await (await spawn(app, str(out), module="fedk_client.initial")).wait()
    assert out.read_bytes() == first


async def test_initial_says_in_a_line_why_there_is_none(spawn: Spawn, app: str, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(APP.replace("np.random.rand(2)", "1 / 0"))
    process = await spawn(app, str(tmp_path / "out"), module="fedk_client.initial")
    code, stderr = await ended(process)
    assert code == 1
    assert stderr.splitlines()[-1] == "model() raised ZeroDivisionError at client.py:11: division by zero"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    out, err = capsys.readouterr()
    return info.value.code, out, err


def test_check_exits_0_and_says_what_is_next(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", app, "--part", "0/3", "--set", "forever=false")
    assert code == 0
    assert "settings  read: forever" in out
    assert out.splitlines()[-1] == f"next      fedk run {app} --clients 3 --rounds 20"


def test_check_exits_1_with_what_a_server_would_refuse(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "client.py").write_text(APP.replace("Update(net", "Update({'v': net['w']}"))
    code, _, err = run(capsys, "check", app)
    assert code == 1
    assert "a server would refuse this: bad-names" in err


def test_check_shows_where_user_code_raised(app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "client.py").write_text(APP.replace("task.log(task.data)", "int('x')"))
    code, _, err = run(capsys, "check", app)
    assert code == 1
    assert "fedk-client: ValueError at client.py:15: invalid literal" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "absent.py:app"], "fedk-client: no file absent.py"),
        (["check", "x.py:app", "--part", "5/5"], '"5/5" wants I/N with I from 0 to N-1, for example 0/5'),
        (["run", "x.py:app", "--name", "a"], "Missing option '--server'"),
        (["check", "x.py:app", "--set", "lr"], '"lr" wants KEY=VALUE'),
        (["rnu"], "No such command 'rnu'"),
    ],
)
def test_wrong_usage_exits_2_with_the_reason(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_a_server_without_a_port_is_shown_how(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", app, "--server", "6090", "--name", "a")
    says = 'fedk-client: "6090" wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"'
    assert (code, err.splitlines()[-1]) == (2, says)


def test_a_name_that_no_client_may_have_is_shown_what_names_are(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", app, "--server", "127.0.0.1:1", "--name", "lab a")
    assert (code, err.splitlines()[-1][:31]) == (2, 'fedk-client: "lab a" is no name')


def test_a_state_directory_that_cannot_be_is_named(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ["run", app, "--server", "127.0.0.1:1", "--name", "a", "--state", f"{tmp_path}/file/state"]
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert f"fedk-client: state directory {tmp_path}/file/state cannot be used" in err


def test_data_that_cannot_be_read_ends_the_client_before_it_joins(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "client.py").write_text(APP.replace('return f"', 'open("/absent"); return f"'))
    code, _, err = run(capsys, "run", app, "--server", "127.0.0.1:1", "--name", "a")
    assert code == 1
    assert "fedk-client: FileNotFoundError at client.py:9: " in err


def test_the_public_names_are_these() -> None:
    assert fedk_client.__all__ == [
        "Client",
        "ClientApp",
        "Task",
        "TaskCancelled",
        "Update",
        "Validation",
        "__version__",
    ]
    assert all(hasattr(fedk_client, name) for name in fedk_client.__all__)
