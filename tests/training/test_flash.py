"""flash-attn in the place of PyTorch's kernel: what it is asked, and what is said where it is not
installed. The package itself compiles for hours and needs a GPU; a stand-in with its signature
attends here.
"""

import sys
import types

import pytest
import torch
from torch.nn import functional

from common.recipes import RecipeError
from training import attention
from training.plugin import AetherPlugin

EDGES = [0, 3, 10, 16]


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal, window_size
):
    """As flash-attn 2 documents it: windows count from the last key, causal or not."""
    assert cu_seqlens_q.dtype == torch.int32 and torch.equal(cu_seqlens_q, cu_seqlens_k)
    assert max_seqlen_q == max_seqlen_k == int(cu_seqlens_q.diff().max())
    groups = q.shape[1] // k.shape[1]
    parts = []
    for start, end in zip(cu_seqlens_q.tolist(), cu_seqlens_q.tolist()[1:], strict=False):
        query = q[start:end].transpose(0, 1)
        key = k[start:end].transpose(0, 1).repeat_interleave(groups, 0)
        value = v[start:end].transpose(0, 1).repeat_interleave(groups, 0)
        place = torch.arange(end - start)
        distance = place[:, None] - place[None, :]
        seen = torch.ones_like(distance, dtype=torch.bool)
        if causal:
            seen &= distance >= 0
        if window_size[0] >= 0:
            seen &= distance <= window_size[0]
        if window_size[1] >= 0:
            seen &= -distance <= window_size[1]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        parts.append(attended.transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def flash(monkeypatch):
    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn", module)


@pytest.mark.parametrize(("causal", "sliding"), [(True, None), (True, 4), (False, None)])
def test_rows_stay_apart_as_on_the_cpu(flash, causal, sliding):
    torch.manual_seed(0)
    query = torch.randn(1, 4, 16, 8, dtype=torch.float64)
    key = torch.randn(1, 2, 16, 8, dtype=torch.float64)
    value = torch.randn(1, 2, 16, 8, dtype=torch.float64)
    edges = torch.tensor(EDGES, dtype=torch.int32)
    bounds = attention.Bounds(edges, int(edges.diff().max()))
    module = types.SimpleNamespace(is_causal=causal, num_key_value_groups=2, training=False)
    wanted, _ = attention.attention(
        module, query, key, value, None, sliding_window=sliding, rows=bounds
    )
    before = -1 if sliding is None else sliding - 1
    window = (before, 0) if causal else (-1, -1)
    by_token = [states[0].transpose(0, 1) for states in (query, key, value)]
    found = attention.flash_varlen(*by_token, bounds, window)
    torch.testing.assert_close(found[None], wanted)


def test_it_is_taken_where_it_is_installed(flash, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    plugin = AetherPlugin()
    cfg = {"attn_implementation": "flash_attention_2"}
    plugin.register(cfg)
    assert plugin.varlen is attention.flash_varlen
    assert cfg["attn_implementation"] == "sdpa"


def test_it_is_refused_in_a_line_where_it_is_not():
    with pytest.raises(RecipeError, match="flash-attn is not installed") as error:
        AetherPlugin().register({"attn_implementation": "flash_attention_2"})
    assert "\n" not in str(error.value)
