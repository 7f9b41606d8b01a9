"""Fields in place: what is written so is what a parser reads, and the other way round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk_protocol.fields import DOWNLOADED, data_of, enclosed
from fedk_protocol.v1 import federation_pb2 as pb


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_what_is_enclosed_is_what_a_parser_finds(parts: list[bytes]) -> None:
    raw = b"".join(enclosed(DOWNLOADED, tuple(memoryview(part) for part in parts)))
    assert pb.Chunk.FromString(raw).data == b"".join(parts)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_data_is_found_where_a_message_is_nothing_else(data: bytes, more: bytes) -> None:
    raw = pb.UploadMessage(data=data).SerializeToString()
    found = data_of(raw)
    assert found is not None
    assert bytes(found) == data
    assert data_of(raw + more) is None or not more
    assert data_of(raw[:-1]) is None


@given(st.binary(max_size=40))
def test_data_that_is_found_is_what_a_parser_finds(raw: bytes) -> None:
    found = data_of(raw)
    if found is not None:
        assert pb.UploadMessage.FromString(raw).data == found


def test_the_data_of_a_large_chunk_is_not_copied() -> None:
    raw = pb.UploadMessage(data=bytes(2**20)).SerializeToString()
    found = data_of(raw)
    assert found is not None
    assert found.obj is raw


@pytest.mark.parametrize(
    "message", [pb.UploadMessage(begin=pb.UploadBegin(offset=1)), pb.UploadMessage()], ids=["begin", "nothing"]
)
def test_what_is_no_data_wants_to_be_parsed(message: pb.UploadMessage) -> None:
    assert data_of(message.SerializeToString()) is None
