"""The suite for clients: passed by one that was written from the specification, failed by ones that break it."""

import asyncio
import sys
from pathlib import Path

import pytest

from fedk.testing.protocol import ScriptedServer
from fedk.testing.protocol.suite import ClientSuite, Start, program

REFERENCE = Path(__file__).with_name("reference_client.py")


class TestReference(ClientSuite):
    @pytest.fixture
    def start(self) -> Start:
        return program(sys.executable, str(REFERENCE), "{address}", "{name}")


@pytest.mark.parametrize(
    ("right", "wrong", "test"),
    [
        (
            'elif kind == "verdict":',
            'elif kind == "receipt":\n            self.outbox.clear()\n        elif kind == "verdict":',
            "a_result_is_kept_after_its_receipt",
        ),
        ("self.outbox.pop(message.verdict.task, None)", "pass", "a_result_is_forgotten_after_its_verdict"),
        ("if task.id not in self.outbox:", "if True:", "a_task_that_comes_twice_is_worked_on_once"),
        ("instance=self.instance", "instance=uuid.uuid4().hex", "it_comes_back_when_the_server_does"),
        ("offset=len(data))", "offset=0)", "a_download_that_breaks_goes_on_where_it_was"),
        ('"model", *task.sets])', '"model", *task.sets])[::-1]', "a_small_blob_beside_a_large_one_is_uploaded_with_it"),
        ("size=len(self.data))", "size=0)", "a_result_is_kept_after_its_receipt"),
        ('"not-supported"', '"raised"', "a_kind_that_it_does_not_know_is_not_supported"),
        ("self.work(message.task, stub)", "self.work(message.task, stub)\n            self.work(message.task, stub)",
         "a_cancelled_task_does_not_hinder_the_next"),
    ],
)  # fmt: skip
async def test_the_suite_fails_a_client_that_is_wrong(tmp_path: Path, right: str, wrong: str, test: str) -> None:
    source = REFERENCE.read_text()
    assert source.count(right) == 1
    (tmp_path / "wrong.py").write_text(source.replace(right, wrong))
    async with ScriptedServer() as server:
        start = program(sys.executable, str(tmp_path / "wrong.py"), "{address}", "{name}")
        client = await asyncio.to_thread(start, server.address, "a")
        try:
            joined = await server.joined()
            with pytest.raises(AssertionError):
                await getattr(ClientSuite(), f"test_{test}")(joined, server)
        finally:
            await asyncio.to_thread(client.stop)
