"""A chart as inline SVG: the same drawing gives the same bytes, on a light or a dark page.

Colours are left to the page: `INK`, `PAPER` and `SERIES` are written as CSS variables
`--ink`, `--paper` and `--c1`.. with these values where the page defines none.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

from dcan.report.wording import escape_controls

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, PAPER = "#1c2126", "#fdfefe"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b8860b", "#aa4499", "#4d5a66")

STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def inline_svg(name: str, draw: Callable[[Axes], None]) -> str:
    """The SVG element that `draw` fills; `name` keeps its ids apart from other charts'."""
    import matplotlib
    from matplotlib.figure import Figure

    stream = StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the page
        matplotlib.rcParams.update(STYLE | {"svg.hashsalt": escape_controls(name)})
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        draw(figure.add_subplot())
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=metadata)
    return _inlined(stream.getvalue())


def _inlined(document: str) -> str:
    """The svg element alone: no ids that repeat, no style of its own, colours as CSS variables."""
    element = document[document.index("<svg") :]
    element = re.sub(r"<style.*?</style>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    element = re.sub(r"font-family: [^;\"]*; ", "", element)
    names = {INK: "--ink", PAPER: "--paper"} | {c: f"--c{i}" for i, c in enumerate(SERIES, 1)}
    for colour, variable in names.items():
        element = element.replace(f": {colour}", f": var({variable}, {colour})")
    return element.strip()
