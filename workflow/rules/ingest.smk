# Needs: the source of the volume. Makes: em.ome.zarr and the histograms of its sections.


rule probe:
    """Look at the sources and refuse what cannot work."""
    output:
        receipt("probe"),
    log:
        log_of("probe"),
    benchmark:
        benchmark_of("probe")
    resources:
        mem_mb=mem_mb("probe"),
        runtime=minutes("probe"),
    params:
        values=parameters("probe"),
        hints=source_hints(),
    shell:
        "dcan probe -c {RESOLVED:q} --log {log:q}"


rule allocate:
    """Write the metadata of the stores, before any job writes into one."""
    input:
        receipts("probe"),
    output:
        receipt("allocate"),
    log:
        log_of("allocate"),
    benchmark:
        benchmark_of("allocate")
    resources:
        mem_mb=mem_mb("allocate"),
        runtime=minutes("allocate"),
    params:
        values=parameters("allocate"),
    shell:
        "dcan allocate -c {RESOLVED:q} --log {log:q}"


rule ingest:
    """Copy blocks of the source into the EM store."""
    input:
        receipts("allocate"),
    output:
        batch_of("ingest"),
    log:
        log_of("ingest-{batch}"),
    benchmark:
        benchmark_of("ingest-{batch}")
    threads: 2
    resources:
        mem_mb=mem_mb("ingest"),
        runtime=minutes("ingest"),
    params:
        values=parameters("ingest"),
        batches=BATCHES,
    shell:
        "dcan ingest -c {RESOLVED:q} --batch {wildcards.batch}/{params.batches}"
        " --workers {threads} --log {log:q}"


rule seal:
    """Vouch for a stage whose batches are done, after a look at all its data."""
    input:
        sealed,
    output:
        receipt("{stage}"),
    log:
        log_of("seal-{stage}"),
    resources:
        mem_mb=mem_mb("seal"),
        runtime=minutes("seal"),
    shell:
        "dcan seal -c {RESOLVED:q} --stage {wildcards.stage} --log {log:q}"


rule survey:
    """Sum the sections' histograms and refuse gaps that were not declared."""
    input:
        receipts("ingest"),
    output:
        receipt("survey"),
    log:
        log_of("survey"),
    benchmark:
        benchmark_of("survey")
    threads: 2
    resources:
        mem_mb=mem_mb("survey"),
        runtime=minutes("survey"),
    params:
        values=parameters("survey"),
    shell:
        "dcan survey -c {RESOLVED:q} --workers {threads} --log {log:q}"


rule pyramid:
    """Make the coarser levels of a store."""
    input:
        pyramid_of,
    output:
        receipt("pyramid_{store}"),
    log:
        log_of("pyramid-{store}"),
    benchmark:
        benchmark_of("pyramid-{store}")
    threads: 2
    resources:
        mem_mb=mem_mb("pyramid"),
        runtime=minutes("pyramid"),
    params:
        values=parameters("pyramid"),
        after=pyramid_after,
    shell:
        "dcan pyramid -c {RESOLVED:q} --store {wildcards.store} --after {params.after:q}"
        " --workers {threads} --log {log:q}"
