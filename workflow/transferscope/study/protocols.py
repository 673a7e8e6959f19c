"""Version of what each step does: raise it when a step's results change, and its jobs rerun.

Snakemake does not see a change inside an imported package; this is how it learns of one.
"""

PROTOCOLS = {
    "simulate": 1,
    "fetch": 1,
    "tiles": 1,
    "cells": 1,
    "published": 1,
    "contact_sheets": 1,
    "relabel": 1,
    "splits": 1,
    "pretrain": 1,
    "embed": 1,
    "heads": 3,
    "knn": 2,
    "finetune": 1,
    "aggregate": 3,
    "aggregation": 2,
    "compare": 3,
    "figures": 3,
}
