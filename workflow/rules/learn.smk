# Needs: the EM store, or the labelled volumes of training.volumes; or ready weights.
# Makes: models/, calibration.json, and the record of what the network runs on.


rule truth:
    """Bring the labelled sections together, with targets and normalisation."""
    input:
        truth_needs(),
    output:
        receipt("truth"),
    log:
        log_of("truth"),
    benchmark:
        benchmark_of("truth")
    resources:
        mem_mb=mem_mb("truth"),
        runtime=minutes("truth"),
    params:
        values=parameters("truth"),
    shell:
        "dcan truth -c {RESOLVED:q} --log {log:q}"


rule train_member:
    """Train one network of the ensemble."""
    input:
        receipts("truth"),
    output:
        str(ROOT / "receipts" / "train" / "member-{member}.json"),
    log:
        log_of("train-{member}"),
    benchmark:
        benchmark_of("train-{member}")
    threads: CONFIG.training.threads
    resources:
        mem_mb=mem_mb("train"),
        runtime=minutes("train"),
        gpu=GPUS,
    params:
        values=parameters("train"),
        hints=given_hints("training.start_from"),
    shell:
        "dcan train-member -c {RESOLVED:q} --member {wildcards.member} --gpus {resources.gpu}"
        " --log {log:q}"


rule weights:
    """Vouch for the networks, trained or given."""
    input:
        weights_need(),
    output:
        receipt("train"),
    log:
        log_of("weights"),
    resources:
        mem_mb=mem_mb("weights"),
        runtime=minutes("weights"),
    params:
        version=STAGES["train"].version,
        weights=str(CONFIG.model.weights),
        hints=given_hints("model.weights"),
        onnx=str(CONFIG.model.onnx),
        members=CONFIG.training.members,
    shell:
        "dcan weights -c {RESOLVED:q} --log {log:q}"


rule resolve:
    """Find out what the network runs on, once for the volume."""
    input:
        receipts("probe"),
    output:
        receipt("resolve"),
    log:
        log_of("resolve"),
    benchmark:
        benchmark_of("resolve")
    resources:
        mem_mb=mem_mb("resolve"),
        runtime=minutes("resolve"),
        gpu=GPUS,
    params:
        values=parameters("resolve"),
    shell:
        "dcan resolve -c {RESOLVED:q} --log {log:q}"


rule calibrate:
    """Choose the values of fusion and linking on the validation sections."""
    input:
        calibration_needs(),
    output:
        receipt("calibrate"),
        report(str(ROOT / "calibration.json"), caption="../report/calibration.rst"),
    log:
        log_of("calibrate"),
    benchmark:
        benchmark_of("calibrate")
    threads: CONFIG.prediction.threads
    resources:
        mem_mb=mem_mb("calibrate"),
        runtime=minutes("calibrate"),
        gpu=GPUS,
    params:
        values=parameters("calibrate"),
        hints=given_hints("segmentation.calibration"),
    shell:
        "dcan calibrate -c {RESOLVED:q} --workers {threads} --log {log:q}"
