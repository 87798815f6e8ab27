"""Put the members of a dataset's Triad behind one OpenAI-compatible address of this machine.

python -m serving.triad DATASET [--port PORT]

Clients ask the model `triad` with the key in TRIAD_KEY. datasets/<name>/triad.yaml names the
members, and the environment variables with their addresses, models and keys.
"""

from __future__ import annotations

import os
import re
import sys

import redis
import uvloop

from common.behaviour import SELF, route_of
from common.errors import command
from common.files import ROOT, shown, write_json
from common.options import parser_of
from common.servers import LOOPBACK, require_free
from common.triad import Triad, TriadError, read
from serving.triad.config import AETHER, KEY, TRIAD, proxy_config

# LiteLLM asks nobody at start, shows no pages, and has no database. It keeps no idle connection: a
# server closes one after seconds (vLLM 5), and a busy proxy would send into it and lose the reply.
SETTINGS = {
    "AIOHTTP_KEEPALIVE_TIMEOUT": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "DISABLE_ADMIN_UI": "True",
    "LITELLM_LOG": "ERROR",
}
NOT_USED = ("DATABASE_URL", "LITELLM_MASTER_KEY", "WORKER_CONFIG", "LITELLM_SALT_KEY")
REDIS = "redis://127.0.0.1:6379/0"


def main() -> int:
    """Serve until Ctrl-C."""
    parser = parser_of(__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--port", type=int, default=4000)
    options = parser.parse_args()
    path = ROOT / "datasets" / options.dataset / "triad.yaml"
    triad = read(path)
    redis_url = os.environ.pop("REDIS_URL", REDIS)  # LiteLLM would keep counts of its own there
    _require(triad, shown(path), redis_url, options.port)
    os.environ.update(SETTINGS)
    for name in NOT_USED:
        os.environ.pop(name, None)
    from serving.triad.proxy import serve  # LiteLLM reads the environment when it is imported

    written = ROOT / "outputs" / "triad" / "config.yaml"
    written.parent.mkdir(parents=True, exist_ok=True)
    write_json(written, proxy_config(triad))  # JSON is YAML
    uvloop.run(serve(triad, written, redis_url, options.port))
    return 0


def _require(triad: Triad, name: str, redis_url: str, port: int) -> None:
    """Say who is absent. Raises AetherError where there is nothing to serve, or not safely."""
    if not os.environ.get(KEY):
        raise TriadError(
            f"set {KEY} to a key for the clients: export {KEY}=sk-$(openssl rand -hex 16)"
        )
    if triad.itself.unset:
        raise TriadError(
            f"{name}: self: AetherAI is absent; set {' and '.join(triad.itself.unset)}"
        )
    for id_ in triad.members:
        if id_ in (SELF, TRIAD, AETHER) or route_of(f"Route: {id_}", triad.members) != id_:
            raise TriadError(f"{name}: members: {id_!r} is another's, or no line Route: names it")
    for id_, member in {SELF: triad.itself, **triad.members}.items():
        if not member.unset and not re.match(r"https?://[^/]", os.environ[member.url]):
            raise TriadError(f"{name}: {id_}: {member.url} must be an address, http(s)://…")
    for id_, member in triad.members.items():
        if member.unset:
            print(f"{id_} is absent: {', '.join(member.unset)} not set")
    try:
        server = redis.Redis.from_url(redis_url, socket_timeout=5)
        if any(member.outside and not member.unset for member in triad.members.values()):
            server.ping()
    except (redis.RedisError, ValueError) as error:
        raise TriadError(
            f"REDIS_URL: {type(error).__name__}: no Redis, which keeps the budgets of members "
            "outside; start redis-server, or unset their keys"
        ) from None
    require_free(LOOPBACK, port)


if __name__ == "__main__":
    sys.exit(command(main))
