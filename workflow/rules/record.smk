localrules:
    record,


rule record:
    output:
        WRITTEN_BY_A_JOB,
    params:
        config=plan.config.model_dump_json(),
        protocols=PROTOCOLS,
    run:
        record(plan.config, plan.paths)
