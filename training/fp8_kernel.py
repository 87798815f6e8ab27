"""Kernels for FP8 on a GPU.

PyTorch's own operations read a row four times to round it, and turn bytes round at a tenth of the
memory's speed (0.44 ms against 1.3 ms for the product that follows, on an H200).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

FORMAT = torch.float8_e4m3fn
LARGEST = tl.constexpr(448.0)
BLOCK = 2048  # values of a row that one step reads
TILE = 64  # rows and columns that one step turns round


@triton.jit
def _round_row(x, values, scales, width, stride, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    peak = 1e-12
    for start in range(0, width, block):
        inside = start + columns < width
        read = tl.load(x + row * stride + start + columns, mask=inside, other=0.0)
        peak = tl.maximum(peak, tl.max(tl.abs(read.to(tl.float32)), 0))
    tl.store(scales + row, peak / LARGEST)
    for start in range(0, width, block):
        inside = start + columns < width
        read = tl.load(x + row * stride + start + columns, mask=inside, other=0.0)
        scaled = read.to(tl.float32) * (LARGEST / peak)
        tl.store(values + row * width + start + columns, scaled.to(tl.float8e4nv), mask=inside)


def round_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (rows, width) with adjacent columns → (e4m3 values (rows, width), scales (rows, 1))."""
    rows, width = x.shape
    x = x if x.stride(1) == 1 else x.contiguous()
    values = torch.empty(rows, width, dtype=FORMAT, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    _round_row[(rows,)](x, values, scales, width, x.stride(0), block=BLOCK, num_warps=8)
    return values, scales


@triton.jit
def _turn(matrix, turned, height, width, tile: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)
    columns = tl.program_id(1).to(tl.int64) * tile + tl.arange(0, tile)
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    read = tl.load(matrix + rows[:, None] * width + columns[None, :], mask=inside)
    place = turned + columns[:, None] * height + rows[None, :]
    tl.store(place, tl.trans(read), mask=tl.trans(inside))


def turn(matrix: torch.Tensor) -> torch.Tensor:
    """A contiguous FP8 matrix (height, width) → its contiguous transpose (width, height)."""
    height, width = matrix.shape
    turned = torch.empty(width, height, dtype=FORMAT, device=matrix.device)
    grid = (triton.cdiv(height, TILE), triton.cdiv(width, TILE))
    as_bytes = (matrix.view(torch.uint8), turned.view(torch.uint8))
    _turn[grid](*as_bytes, height, width, tile=TILE)
    return turned
