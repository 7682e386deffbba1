"""Array types of retrieval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.int64]
"""Row numbers."""

BoolArray = npt.NDArray[np.bool_]
"""A mask over rows."""
