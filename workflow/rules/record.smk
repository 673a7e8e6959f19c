localrules:
    record,


rule record:
    output:
        WRITTEN_BY_A_JOB,
    params:
        config=plan.config.model_dump_json(),
        versions=plan.versions,
    run:
        record(plan.config, plan.paths, plan.versions)
