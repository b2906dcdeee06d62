# Needs: common.smk and all rules. Makes: what is done around a run: names, its claim, last words.

import atexit
from contextlib import ExitStack


def name_messages():
    """A rule's docstring is the message that is shown when it runs."""
    for each in workflow.rules:
        if each.docstring and not each.message:
            text = " ".join(each.docstring.split())
            names = "".join(
                f", {name} {{wildcards.{name}}}" for name in sorted(each.wildcard_names)
            )
            each.message = f"{each.name}{names}: {text}"


def name_environments():
    """With `--software-deployment-method conda` a job runs in one of envs/, the network's jobs in
    that for GPUs wherever some may be asked for; without it they run where snakemake does.
    """
    if "conda" not in map(str, workflow.deployment_settings.deployment_method):
        return
    for each in workflow.rules:
        if each.shellcmd:
            kind = "gpu" if GPUS and "gpu" in each.resources else "cpu"
            each.conda_env = str(Path(workflow.basedir) / "envs" / f"{kind}.yaml")


def start():
    """Before the first job: one run of a volume at a time, and every job reads the configuration
    as it was resolved here. The claim of a run that was killed is taken over."""
    from dcan.storage.claims import claim

    if ON_CLUSTER and workflow.local_exec:
        refuse(
            f"-j {workflow.global_resources['_nodes'].value}: that is how many jobs a cluster gets "
            "at a time, and none is asked for: give --cores, how many are used here"
        )
    held = ExitStack()
    try:
        held.enter_context(
            claim(ROOT / "run.claim", f"volume {CONFIG.volume.name}", wait=1)
        )
    except DcanError as error:
        refuse(error)
    atexit.register(held.close)
    write(CONFIG, Path(RESOLVED))


def print_outputs():
    """Where the results are."""
    from dcan.steps.outputs import existing

    lines = [f"  {path}  {what}" for path, what in existing(ROOT)]
    print(
        f"\n{CONFIG.volume.name}: done. Results:\n" + "\n".join(lines), file=sys.stderr
    )


def print_resume():
    """How to go on."""
    print(
        f"\n{CONFIG.volume.name}: not finished. What is done is kept; logs are in {ROOT}/logs. "
        "Mend the cause and give the same command again.",
        file=sys.stderr,
    )
