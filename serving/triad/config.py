"""LiteLLM's configuration, made from triad.yaml."""

from __future__ import annotations

import os
from typing import Any

from common.triad import Member, Triad

TRIAD = "triad"  # the model that clients ask: AetherAI, and whom it hands over to
AETHER = "aether"  # AetherAI alone
HOUSE = "hosted_vllm/"  # how LiteLLM calls a server of the house's own
KEY = "TRIAD_KEY"  # the environment variable with the key of the proxy's clients
# A member that failed more often is left alone for so many seconds. 3 is LiteLLM's own default, and
# as such would not hold where a model has one address.
PATIENCE = {"allowed_fails": 2, "cooldown_time": 30}
# Dollars: where a reply costs nothing at all, LiteLLM looks for the reason, in each of them.
NEXT_TO_NOTHING = 1e-15


def proxy_config(triad: Triad) -> dict[str, Any]:
    """The proxy's configuration: AetherAI and those of the house who are there, and nobody outside,
    so that no request can name them. It holds no key, only where each stands.
    """
    house = {AETHER: triad.itself} | {
        id_: member
        for id_, member in triad.members.items()
        if not member.outside and not member.unset
    }
    longest = max(house, key=lambda id_: house[id_].context)
    asked = {TRIAD: triad.itself} | house
    longer = [
        {id_: [longest]} for id_, member in asked.items() if member.context < house[longest].context
    ]
    down = {id_: longest if member is triad.itself else AETHER for id_, member in asked.items()}
    return {
        "model_list": [deployment(id_, member) for id_, member in asked.items()],
        "router_settings": {
            "num_retries": 1,
            "fallbacks": [{id_: [other]} for id_, other in down.items() if other != id_],
            "context_window_fallbacks": longer,
            **PATIENCE,
        },
        "litellm_settings": {"drop_params": True},
        "general_settings": {
            "master_key": f"os.environ/{KEY}",
            "disable_model_info_refresh": True,
        },
    }


def deployment(id_: str, member: Member) -> dict[str, Any]:
    """A member as LiteLLM's routers know it."""
    provider = "openai/" if member.outside else HOUSE
    return {
        "model_name": id_,
        "litellm_params": {
            "model": f"{provider}{os.environ[member.model]}",
            "api_base": f"os.environ/{member.url}",
            "api_key": f"os.environ/{member.key}" if os.environ.get(member.key) else "none",
            "timeout": member.seconds,
            "stream_timeout": member.seconds,
            "max_retries": 0,
        },
        "model_info": {
            "id": id_,
            "input_cost_per_token": member.dollars_in / 1e6 or NEXT_TO_NOTHING,
            "output_cost_per_token": member.dollars_out / 1e6 or NEXT_TO_NOTHING,
        },
    }
