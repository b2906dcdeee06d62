"""The configuration of a volume: parsed once, strictly; defaults and schema come from it."""

from dcan.config.model import Config, Phantom, SourcePath, Truth
from dcan.config.reading import load, parse, schema, write
from dcan.config.stages import STAGES, Stage, own, planned, searches

__all__ = [
    "STAGES",
    "Config",
    "Phantom",
    "SourcePath",
    "Stage",
    "Truth",
    "load",
    "own",
    "parse",
    "planned",
    "schema",
    "searches",
    "write",
]
