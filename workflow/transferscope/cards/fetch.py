"""The public sources from which a dataset can be fetched."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from transferscope.config.model import Model

# The flat table of the OpenCell paper's repository, at a commit, so that it cannot change.
OPENCELL_ANNOTATIONS = (
    "https://raw.githubusercontent.com/czbiohub-sf/2021-opencell-figures/"
    "e0bedae07e6c1870f54c501bfa9a9120c8c38e09/data/2021-09-29-public-annotations-flat.csv"
)
OPENCELL_ANNOTATIONS_SHA256 = "f50a385ddb9a3a090e1cd2d3350540e7795dfd02783901a642131a0936368dc5"
Grades = Literal["3", "3+2", "any", "single"]
# "Classes with more than 15 proteins" in OpenCell's own ground truth.
SINGLE_MINIMUM_GROUPS = 16
Colour = Literal["red", "green", "blue", "yellow"]


class DownloadSettings(Model):
    """Connections and retries of downloads; they do not affect the data."""

    connections: int = Field(
        4,
        ge=1,
        le=16,
        description="Files fetched in parallel. Few, because public servers are shared.",
    )
    attempts: int = Field(
        6, ge=1, le=20, description="Consecutive attempts without progress before a file fails."
    )
    timeout_s: float = Field(60, gt=0, description="Timeout of the server, in seconds.")


class _FetchSettings(Model):
    """Settings that all sources share."""

    folder: Path | None = Field(
        None,
        description=(
            "Folder for the raw files, relative to the card; several studies may share it. Null: "
            "in the results of the study."
        ),
    )
    s3_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Server for s3:// addresses. Null: Amazon's, without an account.",
    )
    unlabelled: Literal["keep", "leave-out"] = Field(
        "leave-out",
        description=(
            "Fields without a label of the class list: leave-out: do not fetch them; keep: fetch "
            "them, for pretraining."
        ),
    )
    downloads: DownloadSettings = DownloadSettings()

    def root(self, card_path: Path, default: Path) -> Path:
        """Return the folder for downloads: the card's, relative to its file, or else the default.

        Parameters
        ----------
        card_path
            File of the card.
        default
            Folder below the results of the study.
        """
        return card_path.parent / self.folder if self.folder else default


class OpenCellFetch(_FetchSettings):
    """Fields of OpenCell from its public bucket, labelled by its graded annotation table."""

    kind: Literal["opencell"]
    url: str = Field(
        "s3://czb-opencell/microscopy/raw/",
        min_length=1,
        description=(
            "Location of the images: s3://bucket/prefix/, the bucket's https:// address, or a "
            "local folder, relative to the card."
        ),
    )
    files: Literal["proj", "stack"] = Field(
        "proj",
        description="proj: maximum projections (1.4 MB each); stack: z-stacks (100-150 MB each).",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description=(
            "Number of proteins. They are chosen from the classes in turn, rarest class first, in "
            "an order given by `seed`; a larger limit includes a smaller one. Null: all."
        ),
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of proteins.")
    annotations: str = Field(
        OPENCELL_ANNOTATIONS,
        min_length=1,
        description=(
            "Annotation table: URL, or path relative to the card. CSV with the columns ensg_id, "
            "target_name, annotation_name and annotation_grade, or with one column per grade "
            "(annotations_grade_3, ...) as the portal offers it."
        ),
    )
    annotations_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Checksum of the annotation table. Null: that of the default table, if used.",
    )
    grades: Grades = Field(
        "3",
        description=(
            "Which grades become labels: 3 (prominent), 3+2, any, or single: proteins with exactly "
            "one label of grade 3, as in OpenCell's own ground truth; all others are unlabelled."
        ),
    )
    minimum_groups: int | None = Field(
        None,
        ge=1,
        description=(
            "Classes with fewer proteins are removed. Null: 16 for `grades: single` (more than 15, "
            "as in OpenCell), else 1."
        ),
    )

    @field_validator("grades", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        # YAML parses an unquoted 3 as a number.
        return str(value) if isinstance(value, int) else value

    @property
    def table(self) -> str:
        """Path or URL of the table of fields."""
        return self.annotations

    @property
    def least_groups(self) -> int:
        """Number of proteins below which a class is left out."""
        if self.minimum_groups is not None:
            return self.minimum_groups
        return SINGLE_MINIMUM_GROUPS if self.grades == "single" else 1

    @property
    def known_sha256(self) -> str | None:
        """Checksum of the annotation table, where it is known."""
        default = self.annotations == OPENCELL_ANNOTATIONS
        return self.annotations_sha256 or (OPENCELL_ANNOTATIONS_SHA256 if default else None)


class HpaColumns(Model):
    """Names of the columns of a list of Human Protein Atlas images."""

    id: str = Field("id", min_length=1, description="Image id, for {id} in `url`.")
    labels: str = Field("labels", min_length=1, description="Labels; empty: unlabelled.")
    group: str = Field("gene", min_length=1, description="Group, which no split divides: the gene.")


class HpaFetch(_FetchSettings):
    """Fields of the Human Protein Atlas from a user's list: four colour files per field."""

    # A list is fetched completely.
    limit: ClassVar[None] = None

    kind: Literal["hpa"]
    list: Path = Field(description="List of images, TSV or CSV, relative to the card.")
    url: str = Field(
        "https://images.proteinatlas.org/{id}_{colour}.tif.gz",
        description=(
            "URL of a file, with {id} and {colour} (red, green, blue, yellow): a URL, or a "
            "path relative to the card. A .gz from an address is unpacked."
        ),
    )
    columns: HpaColumns = HpaColumns()
    label_separator: str = Field(";", min_length=1, description="Separator between labels.")
    colours: dict[str, Colour] = Field(
        {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"},
        min_length=1,
        description="Channel of the card -> colour.",
    )

    @property
    def table(self) -> str:
        """Path of the table of fields."""
        return str(self.list)

    @field_validator("url")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            raise ValueError(f"not a template: {error}") from None
        if names != {"id", "colour"}:
            raise ValueError("needs {id} and {colour}, and no other name in braces")
        return value


FetchSettings = Annotated[OpenCellFetch | HpaFetch, Field(discriminator="kind")]
