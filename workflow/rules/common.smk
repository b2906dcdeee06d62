# Needs: the configuration. Makes: names of files, parameters and resources for the rules.

import json
import os
import sys
from pathlib import Path

# A rule's command finds `dcan` beside the snakemake that runs it, activated or not.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)

# What envs/*.post-deploy.sh installs in an environment that snakemake makes.
os.environ["DCAN_SOURCE"] = str(workflow.basedir)

# What a job was given, for its record: Slurm's own name for it does not reach the step that works.
if "SLURM_MEM_PER_NODE" in os.environ:
    os.environ["DCAN_MEMORY_ASKED"] = os.environ["SLURM_MEM_PER_NODE"]

# A rule's command is one call: in the place of the shell, which would die of a job's SIGTERM
# before the call has ended, and take it along.
shell.prefix("set -euo pipefail; exec ")

# `jobs` is how many a cluster gets at a time, and of no meaning here.
ON_CLUSTER = workflow.global_resources["_nodes"].value is not None
if ON_CLUSTER:
    # `cores` is of this machine, and would cap the threads of all jobs.
    workflow.global_resources["_cores"] = None

from dcan.config import FILLED_BY, STAGES, load, own, planned, searched, trains, write
from dcan.errors import DcanError


def refuse(error):
    """End with the one line that says what is wrong."""
    print(f"dcan: error: {error}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def configuration():
    """The file of `--configfile`, or config/volume.yaml, under the values of `--config`."""
    given = workflow.configfiles
    if len(given) > 1:
        refuse(
            f"{len(given)} configuration files are given: a volume has one, give one"
        )
    path = given[0] if given else Path(workflow.basedir) / "config" / "volume.yaml"
    return load(path, workflow.config_settings.config)


def check_paths():
    """Refuse what the shell would expand that a path passes on the way to a cluster's job."""
    given = (workflow.main_snakefile, *workflow.configfiles, CONFIG.output)
    for path in (*given, Path.cwd()):
        if ON_CLUSTER and set(str(path)) & set('$`"\\'):
            refuse(
                f'{path}: rename it: a shell expands $, `, " and \\ on the way to a job'
            )


try:
    CONFIG = configuration()
except DcanError as error:
    refuse(error)

ROOT = Path(CONFIG.output) / CONFIG.volume.name

check_paths()

RESOLVED = str(ROOT / "config.yaml")
BATCHES = CONFIG.batches()
# asked for by jobs that use the network; set-resources of a profile changes it
GPUS = 0 if CONFIG.membrane or CONFIG.prediction.device == "cpu" else 1
STAGES_RUN = planned(CONFIG)


wildcard_constraints:
    batch=r"\d+",
    member=r"\d+",
    store="|".join(FILLED_BY),
    stage="|".join(name for name, stage in STAGES.items() if stage.batched),


def receipt(stage):
    """The receipt that vouches for a stage."""
    return str(ROOT / "receipts" / f"{stage}.json")


def receipts(*stages):
    """The receipts of stages that another reads, of those that this run has."""
    absent = STAGES.keys() - STAGES_RUN.keys()
    return [receipt(stage) for stage in stages if stage not in absent]


def batches(stage):
    """The receipts of all batches of a stage."""
    return [str(ROOT / "receipts" / stage / f"batch-{i}.json") for i in range(BATCHES)]


def batch_of(stage):
    """The receipt of one batch of a stage."""
    return str(ROOT / "receipts" / stage / "batch-{batch}.json")


def sealed(wildcards):
    """What must be done before a stage is vouched for."""
    return batches(wildcards.stage)


def pyramid_after(wildcards):
    """The stage that fills level 0 of a store."""
    return FILLED_BY[wildcards.store]


def pyramid_of(wildcards):
    """What must be done before a store's levels are made."""
    return receipts(FILLED_BY[wildcards.store])


def truth_needs():
    """This volume's EM where it is trained on; the probe where other volumes are."""
    return (
        receipts("ingest", "survey")
        if CONFIG.training.volumes is None
        else receipts("probe")
    )


def weights_need():
    """The members that are to be trained; nothing for ready weights."""
    if not trains(CONFIG):
        return receipts("probe")
    return [
        str(ROOT / "receipts" / "train" / f"member-{member}.json")
        for member in range(CONFIG.training.members)
    ]


def calibration_needs():
    """Labelled sections and the network where there is something to search for."""
    needed = ("probe", "truth", "train", "resolve") if searched(CONFIG) else ("probe",)
    return receipts(*(stage for stage in needed if stage in STAGES_RUN))


def growth_needs():
    """What rings grow to and the map that neurites grow on, where they are grown."""
    if "settle" not in STAGES_RUN:
        return []
    return receipts("settle", "predict", "calibrate")


def every_receipt():
    """The receipts of all stages: Snakemake makes a lost one again only if it is asked for."""
    stages = [name for name in STAGES_RUN if name not in ("pyramid", "report")]
    return receipts(*stages, *(f"pyramid_{store}" for store in FILLED_BY))


def log_of(stage):
    """Where a job writes its log."""
    return str(ROOT / "logs" / f"{stage}.log")


def benchmark_of(stage):
    """Where a job's time and memory are kept."""
    return str(ROOT / "benchmarks" / f"{stage}.tsv")


def parameters(stage):
    """The values a stage uses and its version, as text: another text runs the stage again."""
    return json.dumps(
        {"version": STAGES_RUN.get(stage, STAGES[stage]).version, **own(CONFIG, stage)},
        sort_keys=True,
    )


def source_hints():
    """Cheap identities of the sources: where they change, the probe looks at the bytes."""
    from dcan.steps.sources import hints

    try:
        return json.dumps(hints(CONFIG), sort_keys=True)
    except DcanError as error:
        refuse(error)


def given_hints(*keys):
    """Cheap identities of weights and calibrations that are given, by key."""
    from dcan.steps.sources import given_files

    try:
        found = given_files(CONFIG)
    except DcanError as error:
        refuse(error)
    return json.dumps({key: found.get(key) for key in keys})
