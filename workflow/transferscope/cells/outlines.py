"""Outlines of the objects of a label map."""

from __future__ import annotations

import numpy as np

from transferscope.runtime.arrays import Mask, Pixels


def outlines(labels: Pixels) -> Mask:
    """Return the pixels of objects that touch a pixel of another number, or the background.

    The edge of the image is no outline: what is beyond it is not known.

    Parameters
    ----------
    labels
        Number of each pixel's object, or bool; [H, W].
    """
    edge = np.zeros(labels.shape, np.bool_)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)
