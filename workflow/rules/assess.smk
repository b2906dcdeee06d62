# Needs: everything before. Makes: metrics.json and report.html.


rule evaluate:
    """Score the held-out sections against the truth."""
    input:
        receipts("predict", "relabel", "unite", "calibrate", "train"),
    output:
        receipt("evaluate"),
        report(str(ROOT / "metrics.json"), caption="../report/metrics.rst"),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    resources:
        mem_mb=mem_mb("evaluate"),
        runtime=minutes("evaluate"),
    params:
        values=parameters("evaluate"),
    shell:
        "dcan evaluate -c {RESOLVED:q} --log {log:q}"


rule report:
    """Write the report."""
    input:
        every_receipt(),
    output:
        report(str(ROOT / "report.html"), caption="../report/report.rst"),
    log:
        log_of("report"),
    resources:
        mem_mb=mem_mb("report"),
        runtime=minutes("report"),
    params:
        version=STAGES["report"].version,
    shell:
        "dcan report -c {RESOLVED:q} --log {log:q}"
