"""LiteLLM's proxy in this process, with the hand-over and with no more routes than clients need."""

from __future__ import annotations

import asyncio
import hmac
import os
from pathlib import Path
from typing import Any

import litellm
import uvicorn
from litellm.proxy.proxy_server import app
from starlette.responses import JSONResponse, PlainTextResponse

from common.servers import LOOPBACK
from common.triad import Triad
from serving.triad import garbage
from serving.triad.budget import Budgets
from serving.triad.config import KEY, TRIAD
from serving.triad.handover import Handover
from serving.triad.members import Members

HEALTH = "/health/liveliness"
LAST_SECONDS = 5  # for replies under way, once a signal ends the proxy; Docker waits 10
# The rest of LiteLLM's several hundred routes would hand requests on to providers by name, or
# manage what is not there.
ROUTES = {
    "/v1/chat/completions",
    "/chat/completions",
    "/v1/models",
    "/models",
    HEALTH,
}


async def served(scope: Any, receive: Any, send: Any) -> None:
    """The proxy as an ASGI application: ROUTES alone, and the key looked at before all else."""
    answer = app
    if scope["type"] != "lifespan":
        given = dict(scope["headers"]).get(b"authorization", b"")
        wanted = f"Bearer {os.environ[KEY]}".encode()
        if scope["type"] != "http" or scope["path"] not in ROUTES:
            answer = PlainTextResponse("not served here\n", 404)
        elif scope["path"] != HEALTH and not hmac.compare_digest(given, wanted):
            answer = JSONResponse({"error": {"message": f"the key is not that of {KEY}"}}, 401)
    await answer(scope, receive, send)


async def serve(triad: Triad, config: Path, redis_url: str, port: int) -> None:
    """Serve on this machine alone until a signal ends it."""
    members = Members(triad, Budgets(redis_url))
    litellm.callbacks.append(Handover(triad, members))
    os.environ["CONFIG_FILE_PATH"] = str(config)
    print(f"{TRIAD} at http://{LOOPBACK}:{port}/v1 with {', '.join(['aether', *members.present])}")
    print("Ctrl-C ends it.", flush=True)
    collecting = asyncio.create_task(garbage.collect())
    await uvicorn.Server(
        uvicorn.Config(
            served,
            LOOPBACK,
            port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=LAST_SECONDS,
        )
    ).serve()
    collecting.cancel()
