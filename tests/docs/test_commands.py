"""What the pages tell people to type, open and set is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dcan.cli import OPTIONS, VERBS
from dcan.config import STAGES
from dcan.config.model import Config

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "config" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[str]:
    """The lines of code blocks, without what follows a comment sign."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def anchors(page: Path) -> set[str]:
    """The names that a page's headings get on the web."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if target.startswith("https://"):
            continue
        place, _, anchor = target.partition("#")
        linked = (page.parent / place).resolve() if place else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_dcan_is_called_as_it_can_be() -> None:
    calls = [line for page in PAGES for line in commands(page) if line.startswith("dcan ")]
    assert len(calls) > 5
    for call in calls:
        _, verb, *rest = shlex.split(call)
        assert verb in VERBS, call
        known = {flag for name in VERBS[verb].options.split() for flag in OPTIONS[name][0]}
        assert {part for part in rest if part.startswith("-")} <= known, call


def test_make_and_snakemake_have_the_targets() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    rules = "".join(text_of(p) for p in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")])
    known = {
        "make": set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE)),
        "snakemake": set(re.findall(r"^rule ([a-z_]+):", rules, re.MULTILINE)),
    }
    asked = [(tool, found) for tool in known for found in re.findall(rf"`{tool} ([a-z]+)`", PROSE)]
    asked += [(line.split()[0], line.split()[1]) for line in lines if line.startswith("make ")]
    assert len(asked) > 5
    for tool, target in asked:
        assert target in known[tool], (tool, target)
    for line in lines:
        # --configfile takes everything after it for files, targets too
        assert not re.search(r"--configfile \S+ [a-z]", line), line


PROSE = "\n".join(text_of(page) for page in PAGES)


@pytest.mark.parametrize("section", [*Config.model_fields])
def test_keys_that_the_pages_name_exist(section: str) -> None:
    """A key such as segmentation.sigma: its first two parts are in the model."""
    schema = Config.model_json_schema()
    part = schema["properties"][section]
    ref = next((r["$ref"] for r in [part, *part.get("anyOf", [])] if "$ref" in r), None)
    fields = set(schema["$defs"][ref.rsplit("/", 1)[-1]]["properties"]) if ref else set()
    for key in re.findall(rf"`{section}\.(?!zarr|ome)([a-z_]+)", PROSE):  # not a store
        assert key in fields, f"{section}.{key}"


def test_every_stage_is_described() -> None:
    page = text_of(ROOT / "docs" / "pipeline.md")
    rows = set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE))
    assert rows == set(STAGES)


def test_shipped_configurations_are_reachable() -> None:
    for name in re.findall(r"config/(\w+\.yaml)", PROSE):
        assert (ROOT / "config" / name).exists(), name
