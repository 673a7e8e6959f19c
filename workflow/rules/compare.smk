rule compare:
    input:
        scores=plan.probe_files("scores"),
        predictions=plan.probe_files("predictions"),
    output:
        tables=plan.comparison_tables(),
        summary=paths.summary_csv,
        sentences=paths.summary_md,
        page=report(
            paths.summary_html, caption="../report/summary.rst", category="Summary"
        ),
    log:
        paths.log("compare"),
    benchmark:
        paths.benchmark("compare")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("compare"),
        runtime=plan.needs.runtime("compare"),
    params:
        folder=paths.root,
        stores=plan.probed_in(),
        probes=[f"--probe {probe}" for probe in plan.probes()],
        tuned=plan.tuned_arguments(),
        settings=plan.config.compare.model_dump_json(),
        protocol=PROTOCOLS["compare"],
    shell:
        "transferscope --log {log:q} compare --study-folder {params.folder:q}"
        " --stores {params.stores:q} {params.probes} {params.tuned:q}"
        " --settings {params.settings:q}"


rule aggregation:
    input:
        scores=plan.aggregate_files(),
    output:
        tables=plan.aggregate_tables(),
        svg=report(
            paths.figure("aggregation", "svg"),
            caption="../report/aggregation.rst",
            category="Figures",
            labels={"figure": "aggregation"},
        ),
        png=paths.figure("aggregation", "png"),
    log:
        paths.log("aggregation"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("compare"),
        runtime=plan.needs.runtime("compare"),
    params:
        folder=paths.root,
        stores=plan.probed_in(),
        aggregate=plan.config.aggregate.model_dump_json(),
        compared=plan.config.compare.model_dump_json(),
        settings=plan.figure_settings,
        protocol=PROTOCOLS["aggregation"],
    shell:
        "transferscope --log {log:q} aggregation --study-folder {params.folder:q}"
        " --stores {params.stores:q} --aggregate {params.aggregate:q}"
        " --compared {params.compared:q} --settings {params.settings:q}"
        " --output {output.svg:q} --output {output.png:q}"
