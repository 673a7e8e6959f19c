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
    params:
        folder=paths.root,
        stores=plan.probed_in(),
        probes=[f"--probe {probe}" for probe in plan.probes()],
        settings=plan.config.compare.model_dump_json(),
        protocol=PROTOCOLS["compare"],
    shell:
        "transferscope --log {log:q} compare --study-folder {params.folder:q}"
        " --stores {params.stores:q} {params.probes} --settings {params.settings:q}"
