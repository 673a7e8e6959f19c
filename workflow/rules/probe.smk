rule heads:
    input:
        embeddings=plan.embeddings_of,
        table=plan.labelled_table,
        splits=paths.splits(),
    output:
        scores=paths.scores("heads"),
        predictions=paths.predictions("heads"),
    log:
        paths.log("heads/{dataset}/{representation}/{channels}"),
    benchmark:
        paths.benchmark("heads/{dataset}/{representation}/{channels}")
    conda:
        ENVIRONMENT
    threads: plan.config.compute.probe_threads
    resources:
        mem_mb=plan.needs.mem_mb("heads"),
        runtime=plan.needs.runtime("heads"),
    params:
        probe="heads",
        card=plan.dataset_card,
        settings=plan.head_settings,
        protocol=PROTOCOLS["heads"],
    shell:
        "transferscope --log {log:q} {params.probe} --embeddings {input.embeddings:q}"
        " --representation {wildcards.representation} --channels {wildcards.channels}"
        " --table {input.table:q} --splits {input.splits:q} --card {params.card:q}"
        " --settings {params.settings:q} --threads {threads}"
        " --scores {output.scores:q} --predictions {output.predictions:q}"


use rule heads as knn with:
    output:
        scores=paths.scores("knn"),
        predictions=paths.predictions("knn"),
    log:
        paths.log("knn/{dataset}/{representation}/{channels}"),
    benchmark:
        paths.benchmark("knn/{dataset}/{representation}/{channels}")
    resources:
        mem_mb=plan.needs.mem_mb("knn"),
        runtime=plan.needs.runtime("knn"),
    params:
        probe="knn",
        card=plan.dataset_card,
        settings=plan.knn_settings,
        protocol=PROTOCOLS["knn"],


rule aggregate:
    input:
        embeddings=plan.embeddings_of,
        table=plan.labelled_table,
        splits=paths.splits(),
        fields=plan.fields_in,
    output:
        scores=paths.aggregate_scores(),
        predictions=directory(paths.aggregate_predictions("tile").parent),
    log:
        paths.log("aggregate/{dataset}/{representation}/{channels}"),
    benchmark:
        paths.benchmark("aggregate/{dataset}/{representation}/{channels}")
    conda:
        ENVIRONMENT
    threads: plan.config.compute.probe_threads
    resources:
        mem_mb=plan.needs.mem_mb("aggregate"),
        runtime=plan.needs.runtime("aggregate"),
    params:
        card=plan.dataset_card,
        fields=plan.fields_arguments,
        settings=plan.aggregate_settings,
        protocol=PROTOCOLS["aggregate"],
    shell:
        "transferscope --log {log:q} aggregate --embeddings {input.embeddings:q}"
        " --representation {wildcards.representation} --channels {wildcards.channels}"
        " --table {input.table:q} --splits {input.splits:q} --card {params.card:q}"
        " {params.fields:q} --settings {params.settings:q} --threads {threads}"
        " --scores {output.scores:q} --predictions {output.predictions:q}"
