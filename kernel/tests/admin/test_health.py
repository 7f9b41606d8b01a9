"""Health: what an orchestrator asks."""

import shutil

from sqlalchemy import text

from fedk.testing.site import Site


async def test_a_server_that_can_work_is_alive_and_ready(site: Site) -> None:
    assert (await site.rest.get("/healthz")).json() == {"status": "ok"}
    ready = await site.rest.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_a_server_without_its_database_is_alive_and_says_that_it_is_not_ready(site: Site) -> None:
    await site.store._readers.dispose()
    for path in site.data_dir.glob("fedk.sqlite*"):
        path.unlink()
    assert (await site.rest.get("/healthz")).status_code == 200
    ready = await site.rest.get("/readyz")
    assert (ready.status_code, ready.json().keys()) == (503, {"status", "db"})


async def test_a_table_that_is_not_there_is_named(site: Site) -> None:
    async with site.store.transaction() as tx:
        await tx.execute(text("DROP TABLE schema_info"))
    ready = await site.rest.get("/readyz")
    assert (ready.status_code, "schema_info" in ready.json()["schema"]) == (503, True)


async def test_a_disk_that_is_gone_is_named(site: Site) -> None:
    await site.store._readers.dispose()
    shutil.rmtree(site.data_dir)
    found = (await site.rest.get("/readyz")).json()
    assert "No such file or directory" in found["spool"]
