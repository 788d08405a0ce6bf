"""A stop closes every connection, one that was accepted while it began too."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tamis.serve.worker import ClosingServer

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def _stop_with_a_late_connection(server: uvicorn.Server) -> int:
    """Answers a client received that connected after the server had begun to stop."""
    config = server.config
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    server.should_exit = True
    while server.servers[0].is_serving():
        await asyncio.sleep(0)
    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: HttpToolsProtocol(config, server.server_state, app_state={}),
        theirs,
    )
    reader, writer = await asyncio.open_connection(sock=ours)
    answers = 0
    try:
        while not reader.at_eof():  # a client that always has a next request
            writer.write(REQUEST)
            answers += (await reader.readline()).startswith(b"HTTP/1.1 204")
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # closed between two answers
    finally:
        writer.close()
    await serving
    return answers


def test_a_connection_accepted_during_a_stop_is_closed() -> None:
    config = uvicorn.Config(_answers, lifespan="off", log_config=None)  # no limit on finishing
    answered = asyncio.run(
        asyncio.wait_for(_stop_with_a_late_connection(ClosingServer(config)), 60)
    )
    assert answered >= 1, "what it had asked was answered first"
