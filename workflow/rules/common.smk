import argparse
import gc
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from transferscope.config.yaml_text import check_keys
from transferscope.study.defaults import with_defaults
from transferscope.runtime.atomic_files import require_writable
from transferscope.runtime.plain_files import odd_files
from transferscope.errors import UserError
from transferscope.steps.freshness import described, outdated_jobs
from transferscope.steps.plan import Plan
from transferscope.cards.lookup import card_roots
from transferscope.steps.preflight import preflight
from transferscope.commands import standby
from transferscope.study.loading import load_study
from transferscope.upkeep.ran import hold_results, record
from transferscope.upkeep.status import is_running

# A run that ends with these (`--until`) needs no labels: they may be given by hand afterwards.
BEFORE_SCORES = {
    *("simulate", "fetch", "tiles", "cells", "published", "contact_sheets"),
    *("given_table", "given_features"),
}


# A new dict: as a module, this workflow is given the config of the other one, which must not change.
config = with_defaults(config, Path(workflow.current_basedir).parent / "defaults.yaml")


def last_rules():
    """Return the rules that end this run (`--until`): Snakemake itself tells them only later."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--until", "-U", nargs="*", default=[])
    return set(parser.parse_known_args(sys.argv[1:])[0].until)


def load_plan():
    """Read the config and its cards; check all input, but only once a run."""
    files = workflow.overwrite_configfiles or workflow.configfiles
    where = ", ".join(map(str, files))
    try:
        for file in files:
            check_keys(Path(file))
        study = load_study(config, card_roots(), where)
        if workflow.is_main_process:
            if problems := list(odd_files(study.paths.root)):
                raise UserError(problems)
            until = last_rules()
            preflight(study, scored=not until or not until <= BEFORE_SCORES)
    except UserError as error:
        # Not chained: the user has made a mistake, and needs no traceback.
        raise WorkflowError(str(error)) from None
    plan = Plan(study)
    if workflow.is_main_process:
        make_again(plan)
    return plan


def make_again(plan):
    """Let finished jobs run again whose results are not of what the study asks for now."""
    found = outdated_jobs(plan, is_running)
    if not found:
        return
    print("Made from something else than the study asks for now:", file=sys.stderr)
    print(*(f"  {line}" for line in described(found)), sep="\n", file=sys.stderr)
    prepare = workflow._prepare_dag

    # Snakemake decides from its own history, which another working folder does not have, and makes
    # targets of files that are forced before it plans.
    def prepared(*args, **named):
        prepare(*args, **named)
        workflow.dag.forcefiles.update(str(path) for one in found for path in one.files)

    workflow._prepare_dag = prepared


def prepare_results():
    """Say before the first job where the results cannot be written; write what this run uses."""
    try:
        require_writable(plan.paths.root)
        if "--nolock" not in sys.argv:
            hold_results(plan.paths)
        record(plan.config, plan.paths, plan.versions)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def start_standby():
    """Start the process that the jobs of this run are forked from, where they run on this machine."""
    if not workflow.local_exec or not workflow.is_main_process:
        return None
    return standby.start(sum(1 for job in workflow.dag.needrun_jobs() if job.is_shell))


# Planning makes millions of objects that stay: to look through them for garbage every few hundred
# of them takes an eighth of its time.
gc.set_threshold(200_000, 50, 100)
plan = load_plan()
paths = plan.paths
# Snakemake calls no `onstart` of a module: there, a job writes what the run uses.
IS_MODULE = not workflow.modifier.is_main_snakefile()
WRITTEN_BY_A_JOB = [paths.config, paths.versions] if IS_MODULE else []


def alternatives(names):
    """Return a wildcard constraint that admits just these names."""
    # Nothing matches (?!), while an empty constraint would admit an empty name.
    return "|".join(map(re.escape, names)) or "(?!)"
