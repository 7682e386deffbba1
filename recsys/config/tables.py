"""Where a domain's files are, and how their columns map.

`[source]`, `[items]`, `[users]` and `[interactions]` in a `domain.toml`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from recsys.types import StrictModel


class Column(StrictModel):
    """A source column. In TOML either a name or a table."""

    column: str
    separator: str | None = Field(None, description="split into several values")
    invalid: Literal["error", "missing"] = Field("error", description="what an unreadable value means")
    article: Literal["keep", "front"] = Field("keep", description="'Matrix, The' -> 'The Matrix'")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Source(StrictModel):
    """Where the files are: in an installed package, in a folder, or generated."""

    package: str | None = Field(None, description="PyPI name of the package that ships the data")
    path: str = Field(".", description="inside the package, or relative to the domain's folder")
    generator: Literal["town"] | None = Field(
        None, description="generates the files: `recsys.data.synthetic.town`"
    )

    @model_validator(mode="after")
    def _only_one_origin(self) -> Source:
        if self.generator and (self.package or self.path != "."):
            raise ValueError("generated files lie in the data folder: leave out package and path")
        return self


TableFormat = Literal["recbole", "csv", "tsv", "parquet", "jsonl"]


class ItemTable(StrictModel):
    """Columns of the items."""

    file: str
    format: TableFormat | None = Field(None, description="by default from the file extension")
    id: Column
    title: Column
    year: Column | None = None
    description: Column | None = None
    attributes: dict[str, Column] = Field(default_factory=dict)
    latitude: Column | None = Field(None, description="degrees, as is longitude")
    longitude: Column | None = None
    hours: Column | None = Field(None, description='when it is open: "Tu-Su 10:00-17:00; Fr 10:00-21:00"')

    @model_validator(mode="after")
    def _both_degrees(self) -> ItemTable:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


class UserTable(StrictModel):
    """Columns of the users."""

    file: str
    format: TableFormat | None = Field(None, description="by default from the file extension")
    id: Column
    home: Column | None = Field(None, description="postal code or 'city, state'")
    profile: dict[str, Column] = Field(default_factory=dict)


class InteractionTable(StrictModel):
    """Columns of the interactions."""

    file: str
    format: TableFormat | None = Field(None, description="by default from the file extension")
    user: Column
    item: Column
    rating: Column | None = None
    timestamp: Column | None = Field(None, description="seconds since 1970, or ISO 8601")
    context: dict[str, Column] = Field(
        default_factory=dict, description='facts of the context; "place" is where the person was'
    )
