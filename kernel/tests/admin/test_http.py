"""HTTP on real sockets."""

import socket

import httpx2

from fedk.admin.http import HttpServer
from fedk.testing.site import Site


async def test_an_answer_waits_for_no_acknowledgement_of_its_head(site: Site) -> None:
    http = HttpServer(site.app)
    address = await http.open("127.0.0.1:0")
    async with httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        await client.get("/api/v1/sessions")
        [connection] = http.server_state.connections
        theirs = connection.transport.get_extra_info("socket")
        at_once = theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await http.close()
    assert at_once == 1
