"""Work in steps: generators that yield the share that is done and return what was found."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Found = TypeVar("Found")


def drained(work: Generator[float, None, Found]) -> Found:
    """Return what is found."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Found = end.value
            return found


def within(work: Generator[float, None, Found], start: float, part: float) -> Generator[float, None, Found]:
    """Yield the shares of a part of larger work, which begins where `start` of that is done."""
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            found: Found = end.value
            return found
        yield start + part * share
