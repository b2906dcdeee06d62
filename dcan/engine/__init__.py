"""Dask runs the blocks of a stage, in a bounded window."""
