"""The inflow of an upload's bytes, alone."""

from pathlib import Path

import pytest

from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Intake
from fedk.blobs.spool import Spool
from fedk.network.allowance import Allowance
from fedk.network.calls import Ended
from fedk.network.inflow import Inflow
from fedk.network.threads import Threads
from fedk.network.turns import Turn


async def test_an_upload_that_is_cut_before_it_begins_to_read_ends(tmp_path: Path) -> None:
    upload = Spool(tmp_path, 1000).upload("session", "task", "result", 10)
    turn, threads = Turn(), Threads()

    async def read() -> bytes | None:
        raise AssertionError("it is cut before")

    turn.give_way()
    inflow = Inflow(Intake(Expected(None), {"model": 10}), upload, allowance=Allowance(100), threads=threads)
    with pytest.raises(Ended, match="sent again elsewhere"):
        await inflow.run(read, turn)
    upload.close()
    threads.close()
