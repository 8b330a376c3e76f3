"""Straightening of skewed planes: interpolation along one axis by the published cubic rule, a spline, or straight lines."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from napari_recon.engines.fusion.preparing.skew import Skew

#: Fewest samples along the skew axis: the rules at the borders use three, a spline four.
LEAST_COLUMNS = 4


def cubic_weights(part: Tensor) -> list[Tensor]:
    """Return the weights of the samples before, at, after and two after a place `part` (0 to 1) after a sample.

    Cubic convolution with parameter -1/2 (R. Keys, 1981, doi 10.1109/TASSP.1981.1163711).
    """
    square, cube = part * part, part * part * part
    return [
        (-cube + 2 * square - part) / 2,
        (3 * cube - 5 * square + 2) / 2,
        (-3 * cube + 4 * square + part) / 2,
        (cube - square) / 2,
    ]


def extended(samples: Tensor) -> Tensor:
    """Return samples (..., n) with one more at either end, extrapolated by a parabola, and a 0 after them: (..., n + 3)."""
    first = 3 * samples[..., :1] - 3 * samples[..., 1:2] + samples[..., 2:3]
    last = 3 * samples[..., -1:] - 3 * samples[..., -2:-1] + samples[..., -3:-2]
    return torch.cat([first, samples, last, torch.zeros_like(last)], dim=-1)


def straight_planes(raw: Tensor, skew: Skew, first: int, columns: tuple[int, int], rule: str) -> Tensor:
    """Return straight planes.

    Parameters
    ----------
    raw : Tensor
        (planes, rows, x) float32, consecutive planes of the stack, whole along x.
    skew : Skew
    first : int
        Number of the first of these planes in the stack.
    columns : (int, int)
        Which columns of the straight stack are asked for.
    rule : str
        ``"cubic"``, ``"spline"`` or ``"linear"``.

    Returns
    -------
    Tensor
        (planes, rows, columns) float32, 0 where there are no data.
    """
    width = raw.shape[-1]
    out = raw.new_zeros(*raw.shape[:-1], columns[1] - columns[0])
    for number in range(raw.shape[0]):
        source = skew.source_of(first + number)
        start = max(columns[0], math.ceil(-source))
        stop = min(columns[1], math.floor(width - 1 - source) + 1)
        if stop <= start:
            continue
        base = math.floor(source)
        place = out[number, :, start - columns[0] : stop - columns[0]]
        _between(raw[number], start + base, source - base, rule, place)
    return out


def _between(plane: Tensor, start: int, part: float, rule: str, out: Tensor) -> None:
    """Fill `out` (rows, n) with what lies `part` after the samples from `start` on."""
    n = out.shape[-1]
    if rule == "linear":
        torch.mul(plane[:, start : start + n], 1 - part, out=out)
        after = plane[:, start + 1 : start + 1 + n]
        out[:, : after.shape[-1]].add_(after, alpha=part)
        return
    if rule == "spline":
        bent = plane @ spline_bends(plane.shape[-1]).to(plane).T
        _between(plane, start, part, "linear", out)
        out.add_(bent[:, start : start + n], alpha=((1 - part) ** 3 - (1 - part)) / 6)
        after = bent[:, start + 1 : start + 1 + n]
        out[:, : after.shape[-1]].add_(after, alpha=(part**3 - part) / 6)
        return
    # only a strip around what is asked for, with its borders where those of the plane are
    low, high = max(0, start - 2), min(plane.shape[-1], start + n + 3)
    strip = extended(plane[:, min(low, high - 3) : max(high, low + 3)])
    at = start - min(low, high - 3)
    for number, weight in enumerate(cubic_weights(torch.tensor(part, dtype=torch.float64))):
        piece = strip[:, at + number : at + number + n]
        if number == 0:
            torch.mul(piece, float(weight), out=out)
        else:
            out.add_(piece, alpha=float(weight))


@lru_cache(maxsize=4)
def spline_bends(n: int) -> Tensor:
    """Return the matrix (n, n) that gives a not-a-knot cubic spline's second derivatives at its samples."""
    left = np.zeros((n, n))
    right = np.zeros((n, n))
    for i in range(1, n - 1):
        left[i, i - 1 : i + 2] = (1, 4, 1)
        right[i, i - 1 : i + 2] = (6, -12, 6)
    left[0, :3] = left[-1, -3:] = (1, -2, 1)
    return torch.from_numpy(np.linalg.solve(left, right))


def on_coverslip(raw: Tensor, skew: Skew, across: tuple[int, int], along: tuple[int, int], rule: str) -> Tensor:
    """Return a volume whose planes lie parallel to the coverslip.

    Each voxel is interpolated within the (up to four) planes next to it, then between them, straight across them.

    Parameters
    ----------
    raw : Tensor
        (z, rows, x) float32: all planes, whole along x.
    skew : Skew
    across, along : (int, int)
        Which voxels across and along the coverslip are asked for.
    rule : str
        ``"cubic"`` or ``"linear"``; a spline counts as cubic.

    Returns
    -------
    Tensor
        (across, rows, along) float32, 0 where there are no data.
    """
    planes, rows, width = raw.shape
    size_z, size_x = skew.coverslip_shape
    v = (torch.arange(*across, dtype=torch.float64) - (size_z - 1) / 2)[:, None] * skew.pixel_um
    u = (torch.arange(*along, dtype=torch.float64) - (size_x - 1) / 2)[None] * skew.pixel_um
    sine = skew.direction * skew.sin
    straight_x = (u * skew.cos + v * sine) / skew.pixel_um
    plane = (-u * sine + v * skew.cos) / skew.pitch_um + (planes - 1) / 2
    base = plane.floor()
    taps = (0, 1) if rule == "linear" else (-1, 0, 1, 2)
    part = plane - base
    between = [1 - part, part] if rule == "linear" else cubic_weights(part)
    pitch, before = (width, 0) if rule == "linear" else (width + 3, 1)
    inside = (plane >= -1e-9) & (plane <= planes - 1 + 1e-9)
    indices, weights, weight_sum = [], [], torch.zeros_like(plane)
    for tap, weight in zip(taps, between, strict=True):
        number = (base + tap).clamp(0, planes - 1)
        source = straight_x + (width - 1) / 2 + (number - (planes - 1) / 2) * skew.shift
        seen = (source >= 0) & (source <= width - 1)
        if tap in (0, 1):
            inside &= seen | (weight.abs() < 1e-9)
        weight = torch.where(seen, weight, 0.0)
        weight_sum += weight
        left = source.floor().clamp(0, width - (2 if rule == "linear" else 1))
        rest = (source - left).clamp(0, 1)
        within = [1 - rest, rest] if rule == "linear" else cubic_weights(rest)
        for offset, inner in zip(taps, within, strict=True):
            indices.append(number * pitch + left + before + offset)
            weights.append(weight * inner)
    out = raw.new_zeros(inside.numel(), rows)
    chosen = inside.flatten().nonzero()[:, 0]
    if len(chosen):
        index = torch.stack([i.flatten()[chosen] for i in indices], 1).long().to(raw.device)
        share = torch.stack([w.flatten()[chosen] for w in weights], 1) / weight_sum.flatten()[chosen, None]
        # all rows of a sample lie together, so that one weighted sum of samples serves them all
        samples = (raw if rule == "linear" else extended(raw)).transpose(1, 2).reshape(-1, rows)
        out[chosen.to(raw.device)] = embedding_bag(index, samples, mode="sum", per_sample_weights=share.to(raw))
    return out.reshape(*inside.shape, rows).transpose(1, 2)
