"""Values as JSON can hold them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """Turn a tree of values into one of plain numbers and text, with None for numbers that are not finite.

    Args:
        value: mappings, lists, tuples, NumPy arrays and numbers, text.

    Returns:
        The same for JSON, which has no word for infinity.

    Example:
        >>> jsonable({"loss": np.float32(0.5), "perplexity": math.inf, 3: (1, np.array([2.0, math.nan]))})
        {'loss': 0.5, 'perplexity': None, '3': [1, [2.0, None]]}
    """
    if isinstance(value, Mapping):
        return {str(name): jsonable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
