"""Columns of the tidy table of scores, which probes write and the comparison reads."""

from __future__ import annotations

STORE = ["dataset", "backbone", "channels"]
# What a backbone trained in the study saw of the dataset: "no", "images" or "images and groups".
# What published weights saw is unknown here, and counts as "no".
SEEN_IN_TRAINING = "seen_in_training"
IDENTITY = [*STORE, "task"]
# The same score on the validation rows; NaN if unknown. Heads are chosen by it.
VALIDATION_SCORE = "validation"
SIZES = ["n_train", "n_train_groups", "n_validation", "n_test"]
SCORE_COLUMNS = [
    *IDENTITY,
    "head",
    "k",
    "scheme",
    "fold",
    "seed",
    "fraction",
    "metric",
    "class",
    "value",
    VALIDATION_SCORE,
    *SIZES,
    SEEN_IN_TRAINING,
]
# Scores in halves of the groups, means over seeds; `half` is 2 * pair + side.
HALF = "half"
HALF_COLUMNS = [*STORE, "head", "k", "scheme", "fraction", HALF, "metric", "class", "value"]
# Metadata of the table of scores, from `EmbeddingStore.number_format`.
NUMBER_FORMAT = "number_format"
FLOOR = "floor"
# Metrics in which the floor is the best answer without images; the most frequent class alone has a
# higher accuracy.
FLOOR_METRICS = ("macro_f1", "macro_average_precision")
KNN = "knn"
KNN_METRICS = {"cosine": "", "euclidean": "Euclidean distance"}
KNN_VOTES = {"majority": "", "distance": "votes weighted by distance"}


def knn_head(metric: str, votes: str) -> str:
    """Return the value of the column `head` for a kind of k-NN: `knn` is cosine and majority.

    Examples
    --------
    >>> knn_head("cosine", "majority"), knn_head("euclidean", "distance")
    ('knn', 'knn-euclidean-distance')
    """
    named = [metric] * bool(KNN_METRICS[metric]) + [votes] * bool(KNN_VOTES[votes])
    return "-".join([KNN, *named])


def knn_heads() -> dict[str, str]:
    """Return all kinds of k-NN with their names in texts.

    Examples
    --------
    >>> knn_heads()["knn"], knn_heads()["knn-euclidean"]
    ('k-NN', 'k-NN, Euclidean distance')
    """
    return {
        knn_head(metric, votes): ", ".join(
            ["k-NN", *filter(None, (KNN_METRICS[metric], KNN_VOTES[votes]))]
        )
        for metric in KNN_METRICS
        for votes in KNN_VOTES
    }
