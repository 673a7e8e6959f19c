rule embed:
    input:
        tiles=paths.tiles(),
        weights=TRAINED_WEIGHTS,
    output:
        manifest=paths.embeddings(),
    log:
        paths.log("embed/{dataset}/{backbone}/{channels}"),
    benchmark:
        paths.benchmark("embed/{dataset}/{backbone}/{channels}")
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("embed"),
        runtime=plan.needs.runtime("embed"),
        gpu=plan.gpus,
    params:
        card=plan.backbone_card,
        depends=plan.backbone_dependencies,
        weights=WEIGHTS_ARGUMENTS,
        settings=plan.embed_settings,
        protocol=PROTOCOLS["embed"],
    shell:
        "transferscope --log {log:q} embed --tiles {input.tiles:q} --backbone {params.card:q}"
        " --channels {wildcards.channels} --settings {params.settings:q}"
        " {params.weights:q} --manifest {output.manifest:q}"
