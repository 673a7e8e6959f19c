"""How the cells of a field are found: one method per module, all with one result."""

from transferscope.cells.segmentation.dispatch import segment
from transferscope.cells.segmentation.segmented import SegmentedField

__all__ = ["SegmentedField", "segment"]
