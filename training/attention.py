"""Attention in which the rows of a bin, and the images of a call, each see only themselves.

Stock sdpa tells packed rows apart by a dense mask of (tokens x tokens) and computes what it masks.
Here every sequence attends by itself: in one call of PyTorch's varlen kernel on a GPU, one after
the other on a CPU.
"""

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

stock_attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
stock_mask = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
# Fewer key than query heads: torch 2.11 takes them as they are, later ones want to be told.
ASKS_FOR_GROUPS = "enable_gqa" in inspect.signature(varlen_attn).parameters


@dataclass(frozen=True)
class Bounds:
    """Where the sequences that were joined into one begin and end."""

    edges: torch.Tensor  # int32 of shape (sequences + 1,), from 0 to all tokens
    longest: int  # tokens


def image_bounds(patches: list[int], tensor: torch.Tensor) -> Bounds:
    """Pixtral's `generate_block_attention_mask`: the number of patches of each image, in the place
    of a dense mask.
    """
    edges = [0, *itertools.accumulate(patches)]
    return Bounds(torch.tensor(edges, dtype=torch.int32, device=tensor.device), max(patches))


def row_bounds(position_ids: torch.Tensor) -> Bounds:
    """The bounds of the rows of a bin, which begin where position_ids, of shape (1, tokens), are 0.

    Waits for the GPU: ask once for a bin, not once for a layer.
    """
    starts = torch.nonzero(position_ids[0] == 0).flatten()
    end = starts.new_tensor([position_ids.shape[1]])
    edges = torch.cat([starts, end]).to(torch.int32)
    return Bounds(edges, int(edges.diff().max()))


def torch_varlen(query, key, value, bounds: Bounds, window: tuple[int, int]) -> torch.Tensor:
    """PyTorch's kernel, which is FlashAttention 2: query (tokens, heads, head_dim), key and value
    (tokens, kv_heads, head_dim) → as query. A token sees `window` tokens before and behind it; -1
    is all of its sequence.
    """
    edges = (bounds.edges, bounds.edges, bounds.longest, bounds.longest)
    grouped: dict = {"enable_gqa": True} if ASKS_FOR_GROUPS else {}
    attended: Any = varlen_attn(query, key, value, *edges, window_size=window, **grouped)
    return attended


def flash_varlen(query, key, value, bounds: Bounds, window: tuple[int, int]) -> torch.Tensor:
    """The same by the flash-attn package, where it is installed."""
    from flash_attn import flash_attn_varlen_func

    edges = (bounds.edges, bounds.edges, bounds.longest, bounds.longest)
    causal = window[1] == 0
    return flash_attn_varlen_func(query, key, value, *edges, causal=causal, window_size=window)


def window_mask(queries: int, keys: int, window: int, device: torch.device) -> torch.Tensor:
    """Bool of shape (queries, keys): each query sees the `window` keys that end with its own; the
    last query is the last key.
    """
    query_positions = torch.arange(keys - queries, keys, device=device)[:, None]
    key_positions = torch.arange(keys, device=device)[None, :]
    distance = query_positions - key_positions
    return (distance >= 0) & (distance < window)


def attention(
    module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | Bounds | None,
    sliding_window: int | None = None,
    position_ids: torch.Tensor | None = None,
    rows: Bounds | None = None,
    varlen: Callable[..., torch.Tensor] = torch_varlen,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """The "sdpa" attention function: what was joined into one sequence stays apart; all else goes
    the stock way.

    query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim) → (1, tokens,
    heads, head_dim). `rows` are a bin's bounds, found in its position_ids where a caller did not do
    that once for all layers; the images of a call come as bounds in the place of their mask. A
    sliding window of W lets a token see itself and the W - 1 before it. `varlen` is the kernel for
    a GPU.
    """
    bounds = attention_mask if isinstance(attention_mask, Bounds) else rows
    if bounds is None and attention_mask is None and position_ids is not None:
        bounds = row_bounds(position_ids) if _is_bin(query, key, position_ids) else None
    if bounds is None:
        if attention_mask is None and sliding_window is not None:
            attention_mask = window_mask(query.shape[2], key.shape[2], sliding_window, query.device)
        return stock_attention(module, query, key, value, attention_mask, **kwargs)
    half = query.dtype in (torch.bfloat16, torch.float16)
    if query.is_cuda and half and not kwargs.get("dropout"):
        before = -1 if sliding_window is None else sliding_window - 1
        window = (before, 0) if module.is_causal else (-1, -1)
        by_token = [states[0].transpose(0, 1) for states in (query, key, value)]
        return varlen(*by_token, bounds, window)[None], None
    parts = []
    for start, end in itertools.pairwise(bounds.edges.tolist()):
        part = slice(start, end)
        mask = None
        if sliding_window is not None and end - start > sliding_window:
            mask = window_mask(end - start, end - start, sliding_window, query.device)
        attended, _ = stock_attention(
            module, query[:, :, part], key[:, :, part], value[:, :, part], mask, **kwargs
        )
        parts.append(attended)
    return torch.cat(parts, dim=1), None


def _is_bin(query: torch.Tensor, key: torch.Tensor, position_ids: torch.Tensor) -> bool:
    """Whether every token of one sequence is at hand, each with its position: no cache, no second
    sequence.
    """
    return position_ids.shape == (1, key.shape[2]) == query.shape[::2]


def mask(*args, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor | None:
    """The "sdpa" mask function: none where none is asked for, so that bins get no dense one; padded
    batches as ever.
    """
    if attention_mask is None:
        return None
    return stock_mask(*args, attention_mask=attention_mask, **kwargs)
