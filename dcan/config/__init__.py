"""The configuration of a volume: parsed once, strictly; defaults and schema come from it."""

from dcan.config.model import Config, Phantom, SourcePath, Truth
from dcan.config.reading import load, parse, schema, write
from dcan.config.searching import FUSION, LINKS, searched, validation_pairs
from dcan.config.stages import FILLED_BY, STAGES, Stage, own, planned, trains

__all__ = [
    "FILLED_BY",
    "FUSION",
    "LINKS",
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
    "searched",
    "trains",
    "validation_pairs",
    "write",
]
