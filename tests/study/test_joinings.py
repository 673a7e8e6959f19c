"""What is joined follows from config and cards, or a sentence says why something is not."""

import json

import pytest

from command_tree import words_of
from factories import STUDY, TRAINED, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.config.model import validate
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.defaults import merged_config
from transferscope.study.joinings import joined_stores, not_joined
from transferscope.study.loading import load_study

BACKBONES = [*STUDY["backbones"], "handcrafted"]
