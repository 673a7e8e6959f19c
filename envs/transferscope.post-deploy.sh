#!/usr/bin/env bash
# Run by Snakemake in the new environment; needs the checkout as the working folder.
set -euo pipefail
if [ ! -f requirements/lock.txt ]; then
    echo "--sdm conda works in a clone of transferscope; an installed package needs no other environment" >&2
    exit 1
fi
uv pip sync --system --require-hashes requirements/lock.txt
uv pip install --system --no-deps --no-build-isolation --editable .
