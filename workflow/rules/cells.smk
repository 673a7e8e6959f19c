rule cells:
    input:
        sheet=plan.given_sheet,
        fetched=plan.fetched_anew,
        # Compared by content, which is part of `depends`.
        kept=ancient(plan.fetched_before),
    output:
        manifest=paths.tiles(),
        table=paths.tile_table(),
        quality=paths.quality(),
        skipped=paths.skipped(),
        plausibility=paths.plausibility(),
        overlays=report(
            directory(paths.overlays()),
            patterns=["{name}.png"],
            caption="../report/segmentation.rst",
            category="Segmentation",
            subcategory="{dataset}",
        ),
    log:
        paths.log("cells/{dataset}"),
    benchmark:
        paths.benchmark("cells/{dataset}")
    wildcard_constraints:
        dataset=alternatives(plan.cut_into("cells")),
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("cells"),
        runtime=plan.needs.runtime("cells"),
    params:
        sheet=plan.sheet,
        card=plan.dataset_card,
        depends=plan.cell_dependencies,
        bad_tiles=plan.config.bad_tiles,
        protocol=PROTOCOLS["cells"],
    shell:
        "transferscope --log {log:q} cells --sheet {params.sheet:q} --card {params.card:q}"
        " --bad-tiles {params.bad_tiles} --manifest {output.manifest:q} --table {output.table:q}"
        " --quality {output.quality:q} --skipped {output.skipped:q}"
        " --plausibility {output.plausibility:q} --overlays {output.overlays:q}"
        " --workers {threads}"
