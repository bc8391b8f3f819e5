"""What clipping did is read off the metrics of a run."""

import numpy as np
import pytest

from jaxrnn.analysis.clipping import clipping
from jaxrnn.errors import InputError


def test_norms_before_and_after():
    rows = [{"kind": "update", "step": n, "gradient_norm": norm} for n, norm in [(1, 0.5), (2, 3.0), (3, None)]]
    rows.insert(2, {"kind": "validation", "step": 2, "bits": 1.0})
    seen = clipping(rows, 2.0)
    np.testing.assert_array_equal(seen.steps, [1, 2, 3])
    np.testing.assert_array_equal(seen.before, [0.5, 3.0, np.nan])
    np.testing.assert_array_equal(seen.after, [0.5, 2.0, np.nan])
    np.testing.assert_array_equal(seen.clipped, [False, True, False])
    assert seen.share == pytest.approx(1 / 3)
    assert clipping(rows, np.inf).share == 0 and np.isnan(clipping([], 1.0).share)
    with pytest.raises(InputError, match="clip_norm is 0"):
        clipping(rows, 0)
