"""The versions that a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

from dcan import __version__


def versions(*packages: str) -> dict[str, str]:
    """The version of dcan, of Python and of installed packages, by name."""
    own = {"dcan": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}
