# Runs where Snakemake itself runs: the nodes of a cluster often have no network.
localrules:
    fetch,


rule fetch:
    input:
        plan.fetch_inputs,
    output:
        sheet=paths.raw_sheet(),
        manifest=paths.fetched(),
    log:
        paths.log("fetch/{dataset}"),
    wildcard_constraints:
        dataset=alternatives(plan.made_by("fetch")),
    conda:
        ENVIRONMENT
    params:
        card=plan.dataset_card,
        depends=plan.fetch_dependencies,
        protocol=PROTOCOLS["fetch"],
    shell:
        "transferscope --log {log:q} fetch --card {params.card:q} --sheet {output.sheet:q}"
        " --manifest {output.manifest:q}"
