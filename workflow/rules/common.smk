import sys
from pathlib import Path

from transferscope.errors import UserError
from transferscope.paths import store_of
from transferscope.workflow import load_study

study = load_study(config, workflow)
paths = study.paths


wildcard_constraints:
    dataset="|".join(map(re.escape, study.datasets)),
    backbone="|".join(map(re.escape, study.backbones)),
    representation="|".join(map(re.escape, study.representations)),
    channels="replicate|map-random|map|mean|agnostic",
