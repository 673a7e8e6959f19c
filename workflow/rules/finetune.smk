rule finetune:
    input:
        tiles=paths.tiles(),
        weights=TRAINED_WEIGHTS,
        embeddings=plan.embeddings_of,
        table=plan.labelled_table,
        splits=paths.splits(),
    output:
        scores=paths.scores("{tuned_head}"),
        predictions=paths.predictions("{tuned_head}"),
        losses=paths.losses("{tuned_head}"),
    log:
        paths.log("{tuned_head}/{dataset}/{representation}/{channels}"),
    benchmark:
        paths.benchmark("{tuned_head}/{dataset}/{representation}/{channels}")
    wildcard_constraints:
        tuned_head=alternatives(plan.tuned_heads()),
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("finetune"),
        runtime=plan.needs.runtime("finetune"),
        gpu=plan.gpus,
    params:
        backbone=plan.backbone_card,
        depends=plan.backbone_dependencies,
        weights=WEIGHTS_ARGUMENTS,
        card=plan.dataset_card,
        settings=plan.finetune_settings,
        compute=plan.tuning_compute,
        protocol=PROTOCOLS["finetune"],
    shell:
        "transferscope --log {log:q} finetune --head {wildcards.tuned_head}"
        " --tiles {input.tiles:q} --backbone {params.backbone:q} {params.weights:q}"
        " --embeddings {input.embeddings:q} --representation {wildcards.representation}"
        " --channels {wildcards.channels} --table {input.table:q} --splits {input.splits:q}"
        " --card {params.card:q} --settings {params.settings:q} --compute {params.compute:q}"
        " --scores {output.scores:q} --predictions {output.predictions:q}"
        " --losses {output.losses:q}"
