# Needs: local segments and their tables. Makes: labels/segments and labels/neurites.


rule stitch:
    """Unite segments across the faces of blocks and name them."""
    input:
        receipts("fuse"),
    output:
        receipt("stitch"),
    log:
        log_of("stitch"),
    benchmark:
        benchmark_of("stitch")
    threads: 2
    resources:
        mem_mb=mem_mb("stitch"),
        runtime=minutes("stitch"),
    params:
        values=parameters("stitch"),
    shell:
        "dcan stitch -c {RESOLVED:q} --workers {threads} --log {log:q}"


rule relabel:
    """Write the segments of a batch of blocks under their ids."""
    input:
        receipts("stitch"),
    output:
        batch_of("relabel"),
    log:
        log_of("relabel-{batch}"),
    benchmark:
        benchmark_of("relabel-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("relabel"),
        runtime=minutes("relabel"),
    params:
        values=parameters("relabel"),
        batches=BATCHES,
    shell:
        "dcan relabel -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"


rule grow:
    """Find what the rims of a batch of blocks grow to."""
    input:
        receipts("predict", "relabel", "calibrate"),
    output:
        batch_of("grow"),
    log:
        log_of("grow-{batch}"),
    benchmark:
        benchmark_of("grow-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("grow"),
        runtime=minutes("grow"),
    params:
        values=parameters("grow"),
        batches=BATCHES,
    shell:
        "dcan grow -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"


rule settle:
    """Find what each block's surroundings grow to, over whole sections."""
    input:
        receipts("grow"),
    output:
        receipt("settle"),
    log:
        log_of("settle"),
    benchmark:
        benchmark_of("settle")
    threads: 2
    resources:
        mem_mb=mem_mb("settle"),
        runtime=minutes("settle"),
    params:
        values=parameters("settle"),
    shell:
        "dcan settle -c {RESOLVED:q} --workers {threads} --log {log:q}"


rule overlap:
    """Count what segments of consecutive sections share, drift taken out."""
    input:
        receipts("relabel", "drift"),
    output:
        batch_of("overlap"),
    log:
        log_of("overlap-{batch}"),
    benchmark:
        benchmark_of("overlap-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("overlap"),
        runtime=minutes("overlap"),
    params:
        values=parameters("overlap"),
        batches=BATCHES,
    shell:
        "dcan overlap -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"


rule link:
    """Link segments of consecutive sections into neurites."""
    input:
        receipts("stitch", "overlap", "calibrate"),
    output:
        receipt("link"),
    log:
        log_of("link"),
    benchmark:
        benchmark_of("link")
    resources:
        mem_mb=mem_mb("link"),
        runtime=minutes("link"),
    params:
        values=parameters("link"),
    shell:
        "dcan link -c {RESOLVED:q} --log {log:q}"


rule unite:
    """Write the neurites of a batch of blocks."""
    input:
        receipts("relabel", "link"),
        growth_needs(),
    output:
        batch_of("unite"),
    log:
        log_of("unite-{batch}"),
    benchmark:
        benchmark_of("unite-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("unite"),
        runtime=minutes("unite"),
    params:
        values=parameters("unite"),
        batches=BATCHES,
    shell:
        "dcan unite -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"
