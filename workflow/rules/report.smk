for figure in FIGURES:

    rule:
        name:
            f"figure_{figure}"
        input:
            summary=paths.summary_csv,
            tables=plan.comparison_tables(),
        output:
            svg=report(
                paths.figure(figure, "svg"),
                caption=f"../report/{figure}.rst",
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            ),
            png=paths.figure(figure, "png"),
        log:
            paths.log(f"figure/{figure}"),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=plan.needs.mem_mb("figure"),
            runtime=plan.needs.runtime("figure"),
        params:
            name=figure,
            folder=paths.root,
            settings=plan.figure_settings,
            protocol=PROTOCOLS["figures"],
        shell:
            "transferscope --log {log:q} figure {params.name} --study-folder {params.folder:q}"
            " --settings {params.settings:q} --output {output.svg:q} --output {output.png:q}"


rule embedding_maps:
    input:
        embeddings=plan.embeddings_in,
        table=plan.labelled_table,
    output:
        svg=report(
            paths.figure("embedding_maps/{dataset}", "svg"),
            caption="../report/embedding_maps.rst",
            category="Embedding maps",
            labels={"dataset": "{dataset}"},
        ),
        png=paths.figure("embedding_maps/{dataset}", "png"),
    log:
        paths.log("embedding_maps/{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("embedding_figure"),
        runtime=plan.needs.runtime("embedding_figure"),
    params:
        card=plan.dataset_card,
        folder=paths.root,
        stores=plan.probed_in,
        settings=plan.figure_settings,
        protocol=PROTOCOLS["figures"],
    shell:
        "transferscope --log {log:q} embedding-maps --study-folder {params.folder:q}"
        " --stores {params.stores:q} --table {input.table:q} --card {params.card:q}"
        " --settings {params.settings:q} --output {output.svg:q} --output {output.png:q}"


rule gallery:
    input:
        chosen=paths.comparison("chosen"),
        tiles=paths.tiles(),
        table=plan.labelled_table,
        embeddings=plan.embeddings_in,
    output:
        svg=report(
            paths.figure("gallery/{dataset}", "svg"),
            caption="../report/gallery.rst",
            category="Galleries",
            labels={"dataset": "{dataset}"},
        ),
        png=paths.figure("gallery/{dataset}", "png"),
    log:
        paths.log("gallery/{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("embedding_figure"),
        runtime=plan.needs.runtime("embedding_figure"),
    params:
        card=plan.dataset_card,
        folder=paths.root,
        stores=plan.probed_in,
        knn=plan.config.knn.model_dump_json(),
        settings=plan.figure_settings,
        protocol=PROTOCOLS["figures"],
    shell:
        "transferscope --log {log:q} gallery --study-folder {params.folder:q}"
        " --stores {params.stores:q} --tiles {input.tiles:q} --table {input.table:q}"
        " --card {params.card:q} --knn {params.knn:q} --settings {params.settings:q}"
        " --output {output.svg:q} --output {output.png:q}"
