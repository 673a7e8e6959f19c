rule pretrain:
    input:
        plan.training_inputs,
    output:
        # Weights, history and checkpoint lie beside it, so that a stopped job finds them again.
        manifest=paths.trained(),
    log:
        paths.log("pretrain/{backbone}"),
    benchmark:
        paths.benchmark("pretrain/{backbone}")
    wildcard_constraints:
        backbone=alternatives(plan.study.trained),
    conda:
        ENVIRONMENT
    threads: plan.training_threads
    resources:
        mem_mb=plan.needs.mem_mb("pretrain"),
        runtime=plan.needs.runtime("pretrain"),
        gpu=plan.training_gpus,
    params:
        card=plan.backbone_card,
        depends=plan.training_dependencies,
        settings=plan.training_settings,
        protocol=PROTOCOLS["pretrain"],
    shell:
        "transferscope --log {log:q} pretrain --backbone {params.card:q}"
        " --manifest {output.manifest:q} --settings {params.settings:q}"


rule training_curves:
    input:
        manifest=paths.trained(),
    output:
        svg=report(
            paths.figure("training/{backbone}", "svg"),
            caption="../report/training.rst",
            category="Training",
            labels={"backbone": "{backbone}"},
        ),
        png=paths.figure("training/{backbone}", "png"),
    log:
        paths.log("training_curves/{backbone}"),
    wildcard_constraints:
        backbone=alternatives(plan.study.trained),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("figure"),
        runtime=plan.needs.runtime("figure"),
    params:
        settings=plan.figure_settings,
        protocol=PROTOCOLS["figures"],
    shell:
        "transferscope --log {log:q} training-curves --manifest {input.manifest:q}"
        " --settings {params.settings:q} --output {output.svg:q} --output {output.png:q}"
