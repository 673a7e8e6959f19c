# Every step of the study as a rule. Inputs, outputs, needs and parameters of a step are described in
# workflow/transferscope/steps; the command of a job is `transferscope <step> --<option> ...`.
from transferscope.config.channel_strategies import WILDCARD
from transferscope.steps.signatures import with_signature
from transferscope.steps.step import Ancient, Folder, Shown

ENVIRONMENT = "../../envs/transferscope.yaml"


def marked(files):
    """Return inputs or outputs, by name, as Snakemake marks them."""
    return {name: _marked(file) for name, file in files.items()}


def _marked(file):
    match file:
        case Ancient():
            return ancient(with_signature(file.find))
        case Folder():
            return directory(file.path)
        case Shown():
            return report(
                directory(file.path) if file.is_folder else file.path,
                patterns=["{name}.png"] if file.is_folder else [],
                caption=f"../{file.caption}",
                category=file.category,
                subcategory=file.subcategory,
                labels=dict(file.labels) or None,
            )
    return with_signature(file) if callable(file) else file


def constraints(step):
    """Return a constraint for each wildcard; a store of any strategy may be requested by its path."""
    names = {name: alternatives(step.values(name)) for name in step.wildcards}
    return {**names, "channels": WILDCARD} if "channels" in names else names


def runs_here():
    """Return whether jobs run on this machine, which is known once they are planned."""
    return workflow.local_exec


for step in plan.steps.values():

    rule:
        name:
            step.name
        input:
            **marked(step.inputs()),
        output:
            **marked(step.outputs()),
        log:
            step.log,
        wildcard_constraints:
            **constraints(step),
        localrule: step.is_local
        conda:
            ENVIRONMENT
        threads: step.threads
        resources:
            **step.resources(runs_here),
        params:
            **step.recorded(),
        shell:
            "transferscope --log {log:q} {params.command}"
