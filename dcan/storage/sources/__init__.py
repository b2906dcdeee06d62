"""The volumes that users have, read box by box: TIFF, PNG, HDF5, Zarr, NumPy, phantom."""

from dcan.storage.sources.identity import content, hint
from dcan.storage.sources.opening import decoded, open_source
from dcan.storage.sources.spec import Kind, Source, SourceSpec

__all__ = ["Kind", "Source", "SourceSpec", "content", "decoded", "hint", "open_source"]
