"""The command line: one verb for each rule of the workflow, and a few for people.

A verb's step is imported when it runs, so that `dcan seal` does not wait for torch.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from dcan import __version__
from dcan.engine.stopping import on_sigterm
from dcan.errors import DcanError, Stopped


@dataclass(frozen=True, slots=True)
class Verb:
    """The step that a verb calls, `module:function` in `dcan.steps`, and its options.

    With the option `config` the function gets the workspace first; every other option is a
    keyword argument. What it returns is printed when it is text, and the exit status when it
    is a number.
    """

    step: str
    options: str
    help: str


VERBS = {
    "probe": Verb("probe:probe", "config", "Look at the sources; refuse what cannot work."),
    "allocate": Verb("probe:allocate", "config", "Write the metadata of the volume's stores."),
    "ingest": Verb("ingest:ingest", "config part workers", "Copy blocks into the EM store."),
    "survey": Verb("ingest:survey", "config workers", "Sum histograms; refuse undeclared gaps."),
    "pyramid": Verb("ingest:pyramid", "config store after workers", "Make a store's levels."),
    "truth": Verb("truth:truth", "config", "Bring the labelled sections together."),
    "train-member": Verb("train:train_member", "config member gpus", "Train one network."),
    "weights": Verb("train:weights", "config", "Vouch for trained or given networks."),
    "export": Verb("export:export", "config member out", "Write a network in float16, to hand on."),
    "resolve": Verb("resolve:resolve", "config", "Find the device, once."),
    "calibrate": Verb("calibrate:calibrate", "config workers", "Choose the calibrated values."),
    "predict": Verb("predict:predict", "config part workers gpus", "Predict the membrane map."),
    "drift": Verb("drift:drift", "config workers", "Find the shift of each section."),
    "flood": Verb("segment:flood_blocks", "config part workers", "Find basins and saddles."),
    "merge": Verb("segment:merge_sections", "config workers", "Join basins of whole sections."),
    "fuse": Verb("segment:fuse_blocks", "config part workers", "Fuse and label blocks."),
    "stitch": Verb("stitch:stitch_sections", "config workers", "Unite and name segments."),
    "relabel": Verb("stitch:relabel_blocks", "config part workers", "Write the segments."),
    "grow": Verb("grow:grow_blocks", "config part workers", "Find what rims grow to."),
    "settle": Verb("grow:settle_sections", "config workers", "Settle growth over sections."),
    "overlap": Verb("stitch:overlap_blocks", "config part workers", "Count shared pixels."),
    "link": Verb("link:link_sections", "config", "Link segments into neurites."),
    "unite": Verb("stitch:unite_blocks", "config part workers", "Write the neurites."),
    "seal": Verb("sealing:seal", "config stage", "Vouch for a stage whose batches are done."),
    "evaluate": Verb("assess:evaluate", "config", "Score held-out sections against truth."),
    "report": Verb("report:report", "config", "Write report.html."),
    "verify": Verb("verify:verify", "config repair", "Check every receipt against its data."),
    "status": Verb("status:status", "config as_json", "Say how far each stage is."),
    "plan": Verb(
        "plan:plan",
        "config profile record as_json",
        "Print jobs, memory, times, bytes.",
    ),
    "experiment": Verb(
        "experiment:experiment", "file held_out", "Train runs side by side, print a table."
    ),
    "score": Verb(
        "score:score",
        "labels proposal white maps workers as_json",
        "Score sections by the ISBI metrics, or objects in 3-D.",
    ),
    "phantom": Verb("phantom:make", "out shape seed membrane", "Synthesise an EM volume."),
    "schema": Verb("plan:schema_text", "", "Print the JSON schema of a configuration."),
}

OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "config": (("-c", "--config"), {"required": True, "metavar": "YAML"}),
    "part": (("--batch",), {"default": "0/1", "metavar": "I/N", "help": "batch I of N"}),
    "workers": (("--workers",), {"type": int, "default": 1, "metavar": "N"}),
    "gpus": (
        ("--gpus",),
        {"type": int, "default": 1, "metavar": "N", "help": "GPUs of this job, where it has any"},
    ),
    "member": (("--member",), {"type": int, "required": True, "metavar": "N"}),
    "stage": (("--stage",), {"required": True}),
    "store": (("--store",), {"required": True}),
    "after": (("--after",), {"required": True, "metavar": "STAGE"}),
    "repair": (("--repair",), {"action": "store_true", "help": "remove what does not hold"}),
    "out": (("--out",), {"required": True, "metavar": "PATH"}),
    "shape": (("--shape",), {"type": int, "nargs": 3, "required": True, "metavar": tuple("ZYX")}),
    "seed": (("--seed",), {"type": int, "default": 0}),
    "membrane": (("--membrane",), {"action": "store_true", "help": "also a membrane map"}),
    "file": (("file",), {"metavar": "FILE", "help": "YAML of an experiment"}),
    "held_out": (
        ("--held-out",),
        {"action": "store_true", "help": "score the held-out sections, which choose nothing"},
    ),
    "labels": (
        ("--labels",),
        {
            "required": True,
            "metavar": "STACK",
            "help": "the truth: binary, white = neurite, or more than two values, the names of "
            "objects in 3-D; TIFF, PNG, .npy, HDF5 or Zarr (FILE::DATASET)",
        },
    ),
    "proposal": (
        ("--proposal",),
        {
            "required": True,
            "metavar": "STACK",
            "help": "a map (uint8, uint16, or floating point 0 to 1), a binary stack, or, for "
            "objects, integer labels",
        },
    ),
    "white": (
        ("--white",),
        {
            "choices": ("neurite", "membrane"),
            "default": "neurite",
            "help": "what is high in the proposal",
        },
    ),
    "maps": (
        ("--maps",),
        {"metavar": "FOLDER", "help": "write warping_mistakes.tif there: what is wrong, where"},
    ),
    "profile": (
        ("--profile",),
        {"metavar": "FOLDER", "help": "plan for the threads and resources of a Snakemake profile"},
    ),
    "record": (
        ("--record",),
        {
            "metavar": "FOLDER",
            "help": "times from the benchmarks of a volume, <output>/<name>",
        },
    ),
    "as_json": (("--json",), {"action": "store_true", "help": "one JSON object, not a table"}),
}


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are one line, as every other refusal."""

    def error(self, message: str) -> NoReturn:
        print(f"dcan: error: {message} (see `{self.prog} --help`)", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dcan", description="Deep contextual segmentation of EM volumes.")
    parser.add_argument("--version", action="version", version=f"dcan {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        described = verbs.add_parser(name, help=verb.help, description=verb.help)
        for option in verb.options.split():
            flags, settings = OPTIONS[option]
            named = {"dest": option} if flags[0].startswith("--") else {}
            described.add_argument(*flags, **named, **settings)  # type: ignore[arg-type]
        described.add_argument("--log", metavar="FILE", help="also write the log to a file")
    return parser


def _start_log(path: str | None) -> None:
    log = logging.getLogger("dcan")
    log.setLevel(logging.INFO)
    log.handlers.clear()
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(shown)
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            kept = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise DcanError(f"--log {path}: {error.strerror}: give another file") from None
        kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(kept)


def _run(args: argparse.Namespace) -> int:
    verb = VERBS[args.verb]
    module, _, function = verb.step.partition(":")
    options = verb.options.split()
    values = {name: getattr(args, name) for name in options if name != "config"}
    if values.get("workers", 1) < 1:
        raise DcanError(f"--workers {values['workers']}: give 1 or more")
    step = getattr(import_module(f"dcan.steps.{module}"), function)
    if "config" in options:
        from dcan.steps.workspace import Part, Workspace

        if "part" in values:
            values["part"] = Part.parse(values["part"])
        result = step(Workspace.open(args.config), **values)
    else:
        result = step(**values)
    if isinstance(result, str):
        print(result, end="" if result.endswith("\n") else "\n", flush=True)
    return result if isinstance(result, int) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; 0 when it ended well, 1 when it refused or was stopped, 2 for wrong arguments."""
    args = _parser().parse_args(arguments)
    try:
        _start_log(args.log)
        with on_sigterm():
            return _run(args)
    except (DcanError, Stopped) as error:
        logging.getLogger("dcan").error("dcan: error: %s", error)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # Snakemake keeps the log, and what else the job said scrolls away.
        logging.getLogger("dcan").exception("dcan: error: %s: %s", type(error).__name__, error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
