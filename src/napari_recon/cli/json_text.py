"""JSON for other programs: strict, also where numbers are not finite."""

from __future__ import annotations

import json
import math
from typing import Any

_INFINITE = {'"\\u0000inf"': "1e999", '"\\u0000-inf"': "-1e999"}


def dumps(value: Any) -> str:
    """Return `value` as strict JSON: NaN becomes null, infinity the number 1e999, which reads back as infinity."""
    text = json.dumps(_plain(value))
    for mark, number in _INFINITE.items():
        text = text.replace(mark, number)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return f"\0{value}"
    return value if isinstance(value, str | int | float | bool | None) else str(value)
