"""A load generator: clients that keep a connection and send the next request after each answer.

    python -m benchmarks.serve.load HOST PORT USERS --clients 4 --seconds 5 [--events 50]

One process, asyncio, requests prepared in advance, answers read by their Content-Length and not
parsed: little of the processor goes to it. Prints one JSON object: answers per second, p50 and p99
in milliseconds, failures, and the generator's share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np


def request(path: str, body: object, host: str) -> bytes:
    """The bytes of a POST request."""
    text = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Client:
    """A connection that is kept; opened again after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sent: bytes) -> int:
        """The status of the answer; 0 where the connection failed."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self._streams = None
            return 0


async def recommend(
    client: Client, sent: list[bytes], until: float, times: list[float], failed: list[int]
) -> None:
    """Requests one after the other until `until`."""
    for number in range(sys.maxsize):
        began = time.perf_counter()
        if began > until:
            return
        status = await client.send(sent[number % len(sent)])
        if status == 200:
            times.append(1000 * (time.perf_counter() - began))
        else:
            failed.append(status)


async def events(
    client: Client, sent: list[bytes], rate: float, until: float, failed: list[int]
) -> int:
    """`rate` events per second, one per call; how many were accepted."""
    accepted, began = 0, time.perf_counter()
    for number in range(sys.maxsize):
        pause = began + number / rate - time.perf_counter()
        if time.perf_counter() + max(pause, 0) > until:
            return accepted
        await asyncio.sleep(max(pause, 0))
        status = await client.send(sent[number % len(sent)])
        accepted += status == 200
        if status != 200:
            failed.append(status)
    return accepted


async def run(given: argparse.Namespace) -> dict[str, object]:
    """The whole measurement."""
    users, items = json.loads(given.users.read_text("utf-8")).values()
    host = f"{given.host}:{given.port}"
    name = given.user_field
    asked = [request("/v1/recommend", {name: user, "n": 20}, host) for user in users]
    acted = [
        request("/v1/events", {"user_id": u, "item_id": i, "behaviour": given.behaviour}, host)
        for u, i in zip(users, items, strict=False)
    ]
    times: list[float] = []
    failed: list[int] = []
    warm, failures = list[float](), list[int]()
    clients = [Client(given.host, given.port) for _ in range(given.clients)]
    parts = [asked[k :: given.clients] for k in range(given.clients)]
    await asyncio.gather(
        *(
            recommend(client, part, time.perf_counter() + given.warm, warm, failures)
            for client, part in zip(clients, parts, strict=True)
        )
    )
    if given.events:  # the first events of a new installation wait for kernels to be compiled
        warmed = time.perf_counter() + given.warm
        await events(Client(given.host, given.port), acted, given.events, warmed, failures)
    began, processor = time.perf_counter(), time.process_time()
    until = began + given.seconds
    jobs = [
        recommend(client, part[::-1], until, times, failed)
        for client, part in zip(clients, parts, strict=True)
    ]
    accepted = 0
    if given.events:
        sending = events(Client(given.host, given.port), acted, given.events, until, failed)
        *_, accepted = await asyncio.gather(*jobs, sending)
    else:
        await asyncio.gather(*jobs)
    took = time.perf_counter() - began
    return {
        "answers": len(times),
        "per_second": len(times) / took,
        "p50": float(np.percentile(times, 50)) if times else None,
        "p99": float(np.percentile(times, 99)) if times else None,
        "failed": len(failed),
        "events": accepted,
        "generator": (time.process_time() - processor) / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("users", type=Path, help="JSON: {users: [ids], items: [ids]}")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm", type=float, default=1, help="seconds before measuring")
    parser.add_argument("--events", type=float, default=0, help="events per second beside it")
    parser.add_argument("--behaviour", default="like")
    parser.add_argument("--user-field", default="user_id")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
