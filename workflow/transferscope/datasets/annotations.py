"""OpenCell's graded annotations: from the public table to the labels of each protein."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from transferscope.cards.fetch import Grades
from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.names import nearly_classes
from transferscope.raw.sheets import split_labels
from transferscope.raw.text_tables import missing_columns, read_table

COLUMNS = ("ensg_id", "target_name", "annotation_name", "annotation_grade")
GRADE_COLUMN = "annotations_grade_{grade}"
GRADES = ("3", "2", "1")
NO_GRADE = "0"
LOWEST_GRADE = {"3": 3, "single": 3, "3+2": 2, "any": 1}
MOST_SHOWN = 5

Labels = dict[str, tuple[str, ...]]


def read_annotations(path: Path) -> pd.DataFrame:
    """Read an annotation table.

    Parameters
    ----------
    path
        CSV or TSV. One row per protein and annotation (`annotation_name`, `annotation_grade`), or
        one per protein with a column per grade (`annotations_grade_3`, ...), labels joined by `;`.

    Returns
    -------
    pandas.DataFrame
        One row per protein and annotation: ensg_id, target_name, annotation_name (str) and
        annotation_grade (int, 3 = prominent to 1 = weak). A protein without any annotation has one
        row with an empty name and grade 0.

    Raises
    ------
    UserError
        With every problem of the table.
    """
    table = read_table(path, "fetch.annotations")
    if GRADE_COLUMN.format(grade=3) in table.columns:
        table = _one_row_an_annotation(table)
    if problems := _problems(path, table):
        raise UserError(problems)
    return table[list(COLUMNS)].astype({"annotation_grade": int}).reset_index(drop=True)


def _one_row_an_annotation(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for number, row in table.iterrows():
        found = [
            (label, grade)
            for grade in GRADES
            for label in split_labels(row.get(GRADE_COLUMN.format(grade=grade), ""))
        ]
        named = number, row["ensg_id"], row.get("target_name", "")
        rows += [(*named, *pair) for pair in found or [("", NO_GRADE)]]
    return pd.DataFrame(rows, columns=["row", *COLUMNS]).set_index("row")


def _problems(path: Path, table: pd.DataFrame) -> list[Problem]:
    if missing := missing_columns(path, list(table.columns), COLUMNS):
        return missing
    problems = []
    for column, allowed, what in (
        ("ensg_id", r"ENSG\d+", "is no Ensembl gene id"),
        ("annotation_grade", "[0-3]", "is no grade (3, 2 or 1)"),
    ):
        wrong = ~table[column].str.fullmatch(allowed)
        for row, cell in table.loc[wrong, column].iloc[:MOST_SHOWN].items():
            place = f"{path}, row {row}, column {column}"
            problems.append(Problem(place, f'"{cell}" {what}', "Take the table as it is offered."))
    return problems


def labels_of_proteins(annotations: pd.DataFrame, grades: Grades, least_groups: int = 1) -> Labels:
    """Return the labels of every protein of the table under a grade policy.

    Parameters
    ----------
    annotations
        As `read_annotations` returns it.
    grades
        `3`: prominent ones; `3+2`; `any`; `single`: of a protein with exactly one label of grade
        3 that label, of the others none (OpenCell's own ground truth).
    least_groups
        A class that fewer proteins have is taken off all of them.

    Returns
    -------
    dict
        Labels by Ensembl id, in alphabetical order; none where the policy leaves none.
    """
    graded = annotations[annotations["annotation_grade"] >= LOWEST_GRADE[grades]]
    found: dict[str, set[str]] = {ensg_id: set() for ensg_id in annotations["ensg_id"]}
    for ensg_id, name in zip(graded["ensg_id"], graded["annotation_name"], strict=True):
        found[ensg_id].add(name)
    if grades == "single":
        found = {i: names if len(names) == 1 else set() for i, names in found.items()}
    counts = Counter(name for names in found.values() for name in names)
    kept = {name for name, count in counts.items() if count >= least_groups}
    return {ensg_id: tuple(sorted(names & kept)) for ensg_id, names in found.items()}


def unknown_classes(annotations: pd.DataFrame, classes: Sequence[str], where: str) -> list[Problem]:
    """Return the classes of a card that the table does not have.

    Parameters
    ----------
    annotations
        As `read_annotations` returns it.
    classes
        The class list of the dataset card.
    where
        File of the card.
    """
    counts = Counter(name for name in annotations["annotation_name"] if name)
    problems = not_among(sorted(counts), classes, where, "no class of the annotations")
    return problems + nearly_classes(counts, classes, f"annotations of {where}")


def not_among(
    known: Sequence[str], classes: Sequence[str], where: str | Path, what: str
) -> list[Problem]:
    """Return the classes of a card, a file `where`, that are not known: each is `what`."""
    return [
        Problem(f"{where}, key labels", f'"{name}" is {what}', suggest(name, known))
        for name in classes
        if name not in known
    ]
