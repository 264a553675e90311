"""`python -m tests.support.etcd3_edit <host> <port> <key> <replicas>`: a stranger's edit.

The `etcd3` package is a client of its own that knows nothing of us. Its generated code needs
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python with the protobuf of today, hence a process of its
own. Prints the keys that it finds beside the one it edits.
"""

from __future__ import annotations

import json
import sys

import etcd3  # type: ignore[import-untyped]


def main(host: str, port: str, key: str, replicas: str) -> None:
    client = etcd3.client(host=host, port=int(port))
    value, _ = client.get(key)
    record = json.loads(value)
    record["spec"]["replicas"] = int(replicas)
    client.put(key, json.dumps(record))
    for found, metadata in client.get_prefix("/orchestrator/"):
        json.loads(found)
        print(metadata.key.decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
