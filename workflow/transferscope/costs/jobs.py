"""How many jobs a whole study has, a rule, without asking Snakemake."""

from __future__ import annotations

from transferscope.study.plan import Plan


def jobs_of_whole_study(plan: Plan) -> dict[str, int]:
    """Return rule -> number of jobs, if nothing of a study has been made yet.

    Parameters
    ----------
    plan
        The study's plan.

    Returns
    -------
    dict
        In the order in which data flows. The figures count as one rule, `figures`; Snakemake's
        own target `all` is left out, and so are the parts of embeddings, whose number only the
        finished tiles tell.
    """
    study = plan.study
    probed = study.probed()
    stores = {(p.dataset, p.backbone, p.stored_channels) for p in probed}
    in_parts = plan.config.compute.blocks_a_job is not None
    jobs = {
        "simulate": len(plan.made_by("simulate")),
        "fetch": len(plan.made_by("fetch")),
        "tiles": len(plan.cut_into("tiles")),
        "cells": len(plan.cut_into("cells")),
        "published": len(plan.cut_into("published")),
        "relabel": len(plan.labelled_by_hand()),
        "contact_sheets": len(study.datasets),
        "splits": len(study.datasets),
        "pretrain": len(study.trained),
        "embed_parts": len(study.datasets) if in_parts else 0,
        "embed_start": len(stores) if in_parts else 0,
        "embed": len(stores),
        **{probe: len(probed) for probe in plan.probes()},
        "finetune": len(study.fine_tuned()) * len(plan.tuned_heads()),
        "aggregate": len(plan.aggregated()),
        "compare": 1,
        "aggregation": int(bool(plan.aggregated())),
        "figures": len(plan.figures()),
        "embedding_maps": len(study.datasets),
        "gallery": len(plan.galleries()),
        "training_curves": len(study.trained),
    }
    return {rule: n for rule, n in jobs.items() if n}
