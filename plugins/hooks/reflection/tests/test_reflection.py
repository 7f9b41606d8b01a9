from typing import Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest  # type: ignore[import-untyped]  # as below
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub  # type: ignore[import-untyped]  # as below

import fedk_protocol.v1.federation_pb2  # noqa: F401  # what reflection describes is what is imported
from fedk.testing import HookSuite
from fedk_plugin_reflection import Reflection

SERVICES = ["fedk.v1.Federation", "grpc.health.v1.Health"]


class TestReflection(HookSuite):
    plugin = Reflection


async def asked(request: Any) -> Any:
    """The answer of a real server with the plugin."""
    server = grpc.aio.server()
    Reflection().grpc_services(server, SERVICES)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answers = ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        answer = await anext(aiter(answers))
    await server.stop(None)
    return answer


async def test_the_services_are_listed_itself_included() -> None:
    answer = await asked(ServerReflectionRequest(list_services=""))
    names = [service.name for service in answer.list_services_response.service]
    assert names == sorted([*SERVICES, "grpc.reflection.v1alpha.ServerReflection"])


async def test_the_messages_of_a_service_are_described() -> None:
    answer = await asked(ServerReflectionRequest(file_containing_symbol="fedk.v1.Federation"))
    assert b"federation.proto" in answer.file_descriptor_response.file_descriptor_proto[0]
