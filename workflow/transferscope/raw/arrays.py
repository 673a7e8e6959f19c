"""Names for the types of the arrays that fields, masks and tiles are."""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]  # values of an image or a mask, in the type of its file
Labels = npt.NDArray[np.int32]  # each pixel's cell, counted 1, 2, 3 without gaps; 0 outside
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
