"""`python -m tests.support.chaos.witness <socket> <file>`: when real processes began and ended.

Every process of a workload under test connects here, says who it is, and holds the connection: the
kernel closes it when the process ends, however it does. For each there is a line of JSON when it
has come and one when it has gone, with its pid as the kernel knows it and CLOCK_BOOTTIME.

`PROGRAM` is what such a workload runs. One that ends as it is asked to (SIGTERM), at once.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from pathlib import Path
from typing import TextIO

PROGRAM = """
import _socket, os, signal, time
line = _socket.socket(_socket.AF_UNIX)
line.connect(os.environ["WITNESS"])
said = [os.environ[f"ORC_{name}"] for name in ("INSTANCE", "NODE", "EPOCH")]
line.send(" ".join([*said, str(time.clock_gettime_ns(time.CLOCK_BOOTTIME))]).encode() + b"\\n")
while True:
    signal.pause()
"""

_CREDENTIALS = struct.Struct("3i")


class Witness:
    def __init__(self, server: socket.socket, file: TextIO) -> None:
        self._server = server
        self._file = file
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._names: dict[socket.socket, dict[str, object]] = {}

    def run(self) -> None:
        while True:
            ready = [key.fileobj for key, _ in self._selector.select()]
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            for each in ready:
                assert isinstance(each, socket.socket)
                if each is self._server:
                    self._admit()
                else:
                    self._listen(each, now)
            self._file.flush()

    def _admit(self) -> None:
        caller, _ = self._server.accept()
        self._selector.register(caller, selectors.EVENT_READ)

    def _listen(self, caller: socket.socket, now: int) -> None:
        try:
            said = caller.recv(4096).decode()
        except ConnectionError:
            said = ""
        if said:
            size = _CREDENTIALS.size
            asked = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            instance, node, epoch, began = said.split()
            name = {"pid": _CREDENTIALS.unpack(asked)[0], "epoch": int(epoch)}
            self._names[caller] = {"instance": instance, "node": node, **name}
            self._write("began", int(began), caller)
            return
        self._selector.unregister(caller)
        caller.close()
        if caller in self._names:
            self._write("ended", now, caller)
            del self._names[caller]

    def _write(self, what: str, at_ns: int, caller: socket.socket) -> None:
        line = {"what": what, "at_ns": at_ns, **self._names[caller]}
        self._file.write(json.dumps(line) + "\n")


def main(address: str, path: str) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(512)
    with Path(path).open("a", encoding="utf-8") as file:
        Witness(server, file).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
