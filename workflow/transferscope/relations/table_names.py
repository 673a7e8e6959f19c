"""What the tables of recall call their rows; figures and sentences read them."""

# Measures.
TWO_SIDED, RIGHT, AUROC = "recall, two-sided", "recall, right", "AUROC"
# Which pairs known ones are compared with.
ALL_PAIRS, SAME_STRATUM = "all pairs", "same stratum"
# Status of a row.
SCORED, COLLAPSED, FEW_ENTITIES, NO_PAIRS = (
    "scored",
    "no information: all cosines are equal",
    "too few entities",
    "no known pair",
)
# Maps that stand next to those of the user.
RANDOM, LABELS_ONLY = "random", "labels only"
