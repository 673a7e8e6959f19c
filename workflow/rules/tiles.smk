rule simulate:
    output:
        sheet=paths.raw_sheet(),
    log:
        paths.log("simulate/{dataset}"),
    wildcard_constraints:
        dataset=alternatives(plan.made_by("simulate")),
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("simulate"),
        runtime=plan.needs.runtime("simulate"),
    params:
        settings=plan.simulate_settings,
        protocol=PROTOCOLS["simulate"],
    shell:
        "transferscope --log {log:q} simulate --settings {params.settings:q}"
        " --sheet {output.sheet:q} --workers {threads}"


rule tiles:
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
    log:
        paths.log("tiles/{dataset}"),
    benchmark:
        paths.benchmark("tiles/{dataset}")
    wildcard_constraints:
        dataset=alternatives(plan.cut_into("tiles")),
    conda:
        ENVIRONMENT
    threads: plan.config.compute.threads
    resources:
        mem_mb=plan.needs.mem_mb("tiles"),
        runtime=plan.needs.runtime("tiles"),
    params:
        sheet=plan.sheet,
        card=plan.dataset_card,
        depends=plan.tile_dependencies,
        bad_tiles=plan.config.bad_tiles,
        protocol=PROTOCOLS["tiles"],
    shell:
        "transferscope --log {log:q} tiles --sheet {params.sheet:q} --card {params.card:q}"
        " --bad-tiles {params.bad_tiles} --manifest {output.manifest:q} --table {output.table:q}"
        " --quality {output.quality:q} --skipped {output.skipped:q} --workers {threads}"


rule published:
    output:
        manifest=paths.tiles(),
        table=paths.tile_table(),
        quality=paths.quality(),
        skipped=paths.skipped(),
    log:
        paths.log("published/{dataset}"),
    wildcard_constraints:
        dataset=alternatives(plan.cut_into("published")),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("table"),
        runtime=plan.needs.runtime("table"),
    params:
        card=plan.dataset_card,
        depends=plan.published_dependencies,
        protocol=PROTOCOLS["published"],
    shell:
        "transferscope --log {log:q} published --card {params.card:q} --manifest {output.manifest:q}"
        " --table {output.table:q} --quality {output.quality:q} --skipped {output.skipped:q}"


rule relabel:
    input:
        table=paths.tile_table(),
        labels=plan.label_table,
    output:
        table=paths.relabelled(),
    log:
        paths.log("relabel/{dataset}"),
    wildcard_constraints:
        dataset=alternatives(plan.labelled_by_hand()),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("table"),
        runtime=plan.needs.runtime("table"),
    params:
        card=plan.dataset_card,
        labels=plan.label_dependencies,
        bad_tiles=plan.config.bad_tiles,
        protocol=PROTOCOLS["relabel"],
    shell:
        "transferscope --log {log:q} relabel --table {input.table:q} --card {params.card:q}"
        " --bad-tiles {params.bad_tiles} --output {output.table:q}"


rule contact_sheets:
    input:
        tiles=paths.tiles(),
        table=plan.labelled_table,
    output:
        report(
            directory(paths.contact_sheets()),
            patterns=["{name}.png"],
            caption="../report/contact_sheets.rst",
            category="Data",
            subcategory="{dataset}",
        ),
    log:
        paths.log("contact_sheets/{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("contact_sheets"),
        runtime=plan.needs.runtime("contact_sheets"),
    params:
        card=plan.dataset_card,
        labels=plan.label_dependencies,
        protocol=PROTOCOLS["contact_sheets"],
    shell:
        "transferscope --log {log:q} contact-sheets --tiles {input.tiles:q} --table {input.table:q}"
        " --card {params.card:q} --output {output:q}"


rule splits:
    input:
        table=plan.labelled_table,
    output:
        splits=paths.splits(),
    log:
        paths.log("splits/{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=plan.needs.mem_mb("table"),
        runtime=plan.needs.runtime("table"),
    params:
        card=plan.dataset_card,
        labels=plan.label_dependencies,
        settings=plan.split_settings,
        protocol=PROTOCOLS["splits"],
    shell:
        "transferscope --log {log:q} splits --table {input.table:q} --card {params.card:q}"
        " --settings {params.settings:q} --splits {output.splits:q}"
