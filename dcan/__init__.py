"""Deep contextual segmentation of serial-section electron microscopy.

The result of every step is a function of the volume alone: no block shape, number of
workers, order, interruption or retry changes a bit of it.
"""

__version__ = "0.1.0"
