# Needs: the EM store, the network, the calibration. Makes: membrane.ome.zarr, the drift of
# the sections, and the local segments of every block.


rule predict:
    """Predict the membrane map of a batch of blocks, tile by tile."""
    input:
        receipts("survey", "train", "resolve"),
    output:
        batch_of("predict"),
    log:
        log_of("predict-{batch}"),
    benchmark:
        benchmark_of("predict-{batch}")
    threads: CONFIG.prediction.threads
    resources:
        mem_mb=mem_mb("predict"),
        runtime=minutes("predict"),
        gpu=GPUS,
    params:
        values=parameters("predict"),
        batches=BATCHES,
    shell:
        "dcan predict -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --gpus {resources.gpu} --log {log:q}"


rule drift:
    """Find the shift of each section against the one before it."""
    input:
        receipts("predict"),
    output:
        receipt("drift"),
    log:
        log_of("drift"),
    benchmark:
        benchmark_of("drift")
    threads: 2
    resources:
        mem_mb=mem_mb("drift"),
        runtime=minutes("drift"),
    params:
        values=parameters("drift"),
    shell:
        "dcan drift -c {RESOLVED:q} --workers {threads} --log {log:q}"


rule flood:
    """Find the basins, rims and saddles of a batch of blocks."""
    input:
        receipts("predict", "calibrate"),
    output:
        batch_of("flood"),
    log:
        log_of("flood-{batch}"),
    benchmark:
        benchmark_of("flood-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("flood"),
        runtime=minutes("flood"),
    params:
        values=parameters("flood"),
        batches=BATCHES,
    shell:
        "dcan flood -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"


rule merge:
    """Join the basins of whole sections from the tables of their blocks."""
    input:
        receipts("flood", "calibrate"),
    output:
        receipt("merge"),
    log:
        log_of("merge"),
    benchmark:
        benchmark_of("merge")
    threads: 2
    resources:
        mem_mb=mem_mb("merge"),
        runtime=minutes("merge"),
    params:
        values=parameters("merge"),
    shell:
        "dcan merge -c {RESOLVED:q} --workers {threads} --log {log:q}"


rule fuse:
    """Fuse map and watershed, and label the segments of each block."""
    input:
        receipts("merge", "predict", "calibrate", "allocate"),
    output:
        batch_of("fuse"),
    log:
        log_of("fuse-{batch}"),
    benchmark:
        benchmark_of("fuse-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("fuse"),
        runtime=minutes("fuse"),
    params:
        values=parameters("fuse"),
        batches=BATCHES,
    shell:
        "dcan fuse -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"
