"""Whether chances mean what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def expected_calibration_error(chances: NDArray[np.floating], happened: NDArray[np.bool_], *, bins: int = 15) -> float:
    """How far chances are from frequencies: Σ_b n_b / n · |mean chance − frequency| over bins of equal width.

    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, eq. 5.

    Parameters
    ----------
    chances : (n,)
        In 0..1, what was foretold; at least one.
    happened : (n,) bool
    """
    at = np.minimum((np.asarray(chances, np.float64) * bins).astype(np.int64), bins - 1)
    foretold = np.bincount(at, weights=chances, minlength=bins)
    seen = np.bincount(at, weights=happened, minlength=bins)
    return float(np.abs(foretold - seen).sum() / len(chances))
