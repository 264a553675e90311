"""The frames in which streams travel."""

from __future__ import annotations

import pytest

from orchestrator.process.channels import (
    Channel,
    End,
    Size,
    frame_of,
    read_end,
    read_frame,
    read_size,
)


def test_a_frame_is_a_channel_and_what_is_said_there() -> None:
    assert frame_of(Channel.STDOUT, b"hello") == b"\x01hello"
    assert read_frame(b"\x01hello") == (Channel.STDOUT, b"hello")
    assert read_frame(frame_of(Channel.END_OF_INPUT)) == (Channel.END_OF_INPUT, b"")


@pytest.mark.parametrize("frame", [b"", b"\x06", b"\xff{}"])
def test_what_names_no_channel_is_no_frame(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r"channel|Channel"):
        read_frame(frame)


def test_sizes_and_ends_are_said_in_json() -> None:
    size, end = Size(24, 80), End(127, "command 'no' is not found")
    assert read_size(read_frame(frame_of(Channel.RESIZE, size))[1]) == size
    assert read_end(read_frame(frame_of(Channel.END, end))[1]) == end
    assert read_end(b'{"exit_code": null, "detail": ""}') == End(None)


@pytest.mark.parametrize(
    "content",
    [b"", b"24x80", b"[]", b"{}", b'{"rows": -1, "columns": 2}', b'{"rows": 1, "columns": 65536}'],
)
def test_what_no_terminal_can_have_is_no_size(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"size|terminal|Expecting|Extra"):
        read_size(content)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"exit_code": "0", "detail": ""}'])
def test_what_says_no_end_is_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"end|Expecting"):
        read_end(content)
