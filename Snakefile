# The only entrance: configuration, rules in running order, targets.
#
#   snakemake            everything, of the volume that config/volume.yaml describes
#   snakemake train      the network and its calibration
#   snakemake report     report.html and what it needs
#   ... --configfile PATH for another volume, --profile profiles/slurm on a cluster


include: "workflow/rules/common.smk"
include: "workflow/rules/requests.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/learn.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/stitch.smk"
include: "workflow/rules/assess.smk"
include: "workflow/rules/hooks.smk"


localrules:
    all,
    train,


rule all:
    """Everything: segments, neurites, their pyramids, metrics and the report."""
    input:
        rules.report.output,
        every_receipt(),


rule train:
    """The network and its calibration."""
    input:
        receipts("train", "calibrate"),


name_messages()
name_environments()


onstart:
    start()


onsuccess:
    print_outputs()


onerror:
    print_resume()
