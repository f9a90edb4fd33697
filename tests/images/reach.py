"""Reads [[host, port], ...] as JSON and writes those that take a connection; runs in a container of the system."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor


def connects(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=3).close()
    except OSError:
        return False
    return True


addresses = [(host, port) for host, port in json.load(sys.stdin)]
with ThreadPoolExecutor(32) as pool:
    print(json.dumps([each for each, found in zip(addresses, pool.map(connects, addresses), strict=True) if found]))
