"""Names for the types of arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]  # of whatever type a store, a file or a caller has
Pixels = npt.NDArray[Any]  # values of an image or a mask, in the type of its file
Labels = npt.NDArray[np.int32]  # each pixel's cell, counted 1, 2, 3 without gaps; 0 outside
Masks = npt.NDArray[np.uint32]  # targets of tiles, [n, H, W]
Mask = npt.NDArray[np.bool_]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Texts = npt.NDArray[np.object_]  # strings
