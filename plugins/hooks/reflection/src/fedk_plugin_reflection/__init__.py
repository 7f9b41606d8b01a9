"""Tells gRPC tools which services the server has: `grpcurl -plaintext HOST:PORT list`."""

from collections.abc import Sequence

import grpc.aio
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc  # type: ignore[import-untyped]  # published without types

from fedk.api.hooks import hookimpl

__all__ = ["Reflection"]


class Reflection:
    """gRPC's own reflection, of the services that are there before it: name it last in `plugins.hooks`."""

    @hookimpl
    def grpc_services(self, server: grpc.aio.Server, services: Sequence[str]) -> None:
        servicer = reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
