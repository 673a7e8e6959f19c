#!/usr/bin/env bash
# Run by Snakemake in the new environment; needs the checkout as the working folder.
set -euo pipefail
uv pip sync --system --require-hashes requirements/lock.txt
uv pip install --system --no-deps --no-build-isolation --editable .
