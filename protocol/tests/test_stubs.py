"""The committed stubs are what the .proto says."""

from collections.abc import Iterable
from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]  # published without types

from fedk_protocol.v1 import federation_pb2, federation_pb2_grpc

SOURCES = Path(__file__).parents[1] / "src"


def test_the_stubs_describe_the_proto(tmp_path: Path) -> None:
    out = tmp_path / "descriptors"
    arguments = [f"-I{SOURCES}", f"--descriptor_set_out={out}", "fedk_protocol/v1/federation.proto"]
    assert protoc.main(["protoc", *arguments]) == 0
    (compiled,) = FileDescriptorSet.FromString(out.read_bytes()).file
    drop_json_names(compiled.message_type)
    committed = FileDescriptorProto.FromString(federation_pb2.DESCRIPTOR.serialized_pb)
    assert str(committed) == str(compiled), "run: make proto"


def test_the_service_stub_has_every_call_of_the_proto() -> None:
    calls = federation_pb2.DESCRIPTOR.services_by_name["Federation"].methods_by_name
    channel = grpc.insecure_channel("127.0.0.1:1")
    stub = federation_pb2_grpc.FederationStub(channel)
    channel.close()
    assert set(calls) == {"Connect", "Download", "Upload", "Locate"} == set(vars(stub))


def drop_json_names(messages: Iterable[DescriptorProto]) -> None:
    """protoc writes the names that JSON would have; Python's stubs leave them out."""
    for message in messages:
        drop_json_names(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
