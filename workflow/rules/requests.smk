# Needs: common.smk. Makes: the memory and time that jobs ask for.

import math
from functools import lru_cache


@lru_cache(maxsize=1)
def requests_as_of(*found):
    """What jobs ask a cluster for, as `dcan plan` predicts it, while these times are the same."""
    from dcan.steps.requests import Requests
    from dcan.steps.workspace import Workspace

    return Requests(Workspace.of(CONFIG))


def requests():
    """The requests by what is known now: Snakemake asks again when a job's inputs are there."""
    known = (receipt("probe"), receipt("resolve"), ROOT / "benchmarks")
    return requests_as_of(
        *(os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in known)
    )


def most(resource):
    """The number that a profile sets as the default of a resource: no job asks for more."""
    default = (workflow.resource_settings.default_resources or {}).get(resource)
    # Snakemake itself has an expression for memory, and none for time
    if resource == "runtime" and default and not isinstance(default.raw, int):
        refuse(
            f"default-resources of the profile: runtime is {default.raw!r}: it is the most that "
            "a job asks for, give a number of minutes"
        )
    return default.raw if default and isinstance(default.raw, int) else math.inf


@lru_cache(maxsize=None)
def tell_short(stage, wanted, given):
    """Say once that a job may need more memory than it can be given."""
    print(
        f"dcan: a job of {stage} may take {wanted} MiB, and the profile lets it ask for {given}: "
        "raise that, or give smaller blocks or fewer labelled sections",
        file=sys.stderr,
    )


def gpus_of(stage):
    """The GPUs of a stage's jobs, by set-resources of the profile or the rule itself."""
    named = "train_member" if stage == "train" else stage
    given = workflow.resource_settings.overwrite_resources.get(named, {}).get("gpu")
    return given.raw if given is not None and isinstance(given.raw, int) else GPUS


def mem_mb(stage):
    """MiB of a job of a stage, doubled with each attempt."""
    gpus = gpus_of(stage)

    def asked(wildcards, threads, attempt):
        wanted = requests().mib(stage, threads, gpus)
        if wanted > most("mem_mb"):
            tell_short(stage, wanted, most("mem_mb"))
        return min(most("mem_mb"), wanted * 2 ** (attempt - 1))

    return asked


def minutes(stage):
    """Minutes of a job of a stage: more than is predicted, and as many more with each attempt."""
    gpus = gpus_of(stage)

    def asked(wildcards, threads, attempt):
        named = f"{stage}_{wildcards.store}" if stage == "pyramid" else stage
        return min(most("runtime"), requests().minutes(named, threads, gpus) * attempt)

    return asked
