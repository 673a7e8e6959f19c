# Stores that are filled by many jobs each (`compute.blocks_a_job`), in place of embed.smk.
localrules:
    embed_parts,


# How many there are is known only when the tiles are made.
checkpoint embed_parts:
    input:
        tiles=paths.tiles(),
    output:
        parts=paths.embedding_parts(),
    log:
        paths.log("embed_parts/{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("table"),
        runtime=plan.needs.runtime("table"),
    params:
        block_rows=plan.config.compute.block_rows,
        blocks_a_job=plan.config.compute.blocks_a_job,
    shell:
        "transferscope --log {log:q} embed-parts --tiles {input.tiles:q}"
        " --block-rows {params.block_rows} --blocks-a-job {params.blocks_a_job}"
        " --output {output.parts:q}"


def parts_of(wildcards):
    divided = checkpoints.embed_parts.get(dataset=wildcards.dataset)
    return plan.part_files(wildcards, divided.output.parts)


rule embed_start:
    input:
        tiles=paths.tiles(),
        weights=TRAINED_WEIGHTS,
    output:
        started=paths.embedding_start(),
    log:
        paths.log("embed_start/{dataset}/{backbone}/{channels}"),
    benchmark:
        paths.benchmark("embed_start/{dataset}/{backbone}/{channels}")
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("embed"),
        runtime=plan.needs.runtime("embed_start"),
        gpu=plan.gpus,
    params:
        card=plan.backbone_card,
        depends=plan.backbone_dependencies,
        weights=WEIGHTS_ARGUMENTS,
        settings=plan.embed_settings,
        manifest=plan.embedding_manifest,
        protocol=PROTOCOLS["embed"],
    shell:
        "transferscope --log {log:q} embed-start --tiles {input.tiles:q}"
        " --backbone {params.card:q} --channels {wildcards.channels}"
        " --settings {params.settings:q} {params.weights:q} --manifest {params.manifest:q}"
        " --output {output.started:q}"


rule embed_part:
    input:
        tiles=paths.tiles(),
        weights=TRAINED_WEIGHTS,
        started=paths.embedding_start(),
    output:
        done=paths.embedding_part(),
    log:
        paths.log("embed_part/{dataset}/{backbone}/{channels}/{part}"),
    benchmark:
        paths.benchmark("embed_part/{dataset}/{backbone}/{channels}/{part}")
    wildcard_constraints:
        part=r"\d+",
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("embed"),
        runtime=plan.needs.runtime("embed_part"),
        gpu=plan.gpus,
    params:
        card=plan.backbone_card,
        weights=WEIGHTS_ARGUMENTS,
        settings=plan.embed_settings,
        manifest=plan.embedding_manifest,
        blocks_a_job=plan.config.compute.blocks_a_job,
    shell:
        "transferscope --log {log:q} embed-part --tiles {input.tiles:q}"
        " --backbone {params.card:q} --channels {wildcards.channels}"
        " --settings {params.settings:q} {params.weights:q} --manifest {params.manifest:q}"
        " --started {input.started:q} --part {wildcards.part}"
        " --blocks-a-job {params.blocks_a_job} --output {output.done:q}"


rule embed:
    input:
        started=paths.embedding_start(),
        parts=parts_of,
    output:
        manifest=paths.embeddings(),
    log:
        paths.log("embed/{dataset}/{backbone}/{channels}"),
    benchmark:
        paths.benchmark("embed/{dataset}/{backbone}/{channels}")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("embed_finish"),
        runtime=plan.needs.runtime("embed_finish"),
    params:
        parts=plan.parts_folder,
        blocks_a_job=plan.config.compute.blocks_a_job,
        protocol=PROTOCOLS["embed"],
    shell:
        "transferscope --log {log:q} embed-finish --started {input.started:q}"
        " --parts {params.parts:q} --blocks-a-job {params.blocks_a_job}"
        " --manifest {output.manifest:q}"
