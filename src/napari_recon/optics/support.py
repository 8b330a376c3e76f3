"""Sizes that planning needs to know about an optical operator (no torch)."""

from __future__ import annotations


def operator_support(largest_shift_fine: float, upsampling: float, sigma_fine: float = 2.0) -> int:
    """Return how far, in light-field pixels, one voxel can reach in any view: shift, blur and sampling kernel."""
    return round((largest_shift_fine + 3.0 * sigma_fine) / upsampling + 2.0)


def next_smooth_size(size: int) -> int:
    """Return the smallest number >= ``size`` with no prime factor above 7, a length FFTs are fast at."""
    candidate = max(1, size)
    while True:
        rest = candidate
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 1
