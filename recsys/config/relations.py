"""Relations between items: where their edges come from, and what they mean.

`[relations.NAME]` in a `domain.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys.config.tables import Column, FileTable, Source
from recsys.types import StrictModel

RelationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Phrases = dict[Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)?$")], str]
"""Language -> what a reason says of an item: "is a sequel of {title}"."""

_SLOT = re.compile(r"\{(\w*)\}")


class LinkTable(FileTable):
    """Which entity of a knowledge graph each item is, as in RecBole's `.link`."""

    item: Column
    entity: Column


class EdgeTable(FileTable):
    """Columns of a file of edges from a head to a tail, as in RecBole's `.kg`."""

    head: Column
    tail: Column
    relation: Column | None = Field(None, description="names the relation of a row, in a file of several")
    named: str | None = Field(
        None, description='what that column says of this relation: "film.film.sequel"; by default its name'
    )
    link: LinkTable | None = Field(
        None, description="tells which item a head or tail is; by default they are ids of items"
    )
    entities: bool = Field(
        False, description="a head or tail that is no item is something that items have in common"
    )
    unknown: Literal["error", "skip"] = Field(
        "error", description="what an edge means whose head or tail is no item"
    )
    source: Source | None = Field(None, description="where the file is; by default as [source] says")

    @model_validator(mode="after")
    def _options_do_something(self) -> EdgeTable:
        if self.named is not None and self.relation is None:
            raise ValueError("named would do nothing without relation, the column that it is looked for in")
        if self.entities and self.unknown == "skip":
            raise ValueError("unknown would do nothing with entities = true: leave it out")
        return self


class Relation(StrictModel):
    """A kind of edge between items, or between items and what they have in common.

    See `recsys.knowledge.relations`.
    """

    edges: EdgeTable | None = Field(None, description="a file of them")
    attributes: tuple[str, ...] = Field(
        (), description="items that share a value of one of these are related: no file is needed"
    )
    symmetric: bool = Field(False, description="an edge holds both ways")
    transitive: bool = Field(False, description="a path of up to three edges counts as one")
    inverse: RelationName | None = Field(None, description="name of the relation from tail to head")
    most: int = Field(
        50, ge=2, description="what more items than these have in common says nothing about them"
    )
    say: Phrases = Field(
        default_factory=dict,
        description='by language, what a reason says of the head: "is a sequel of {title}"; of a shared '
        'value: "is directed by {value}, as is {title}"; without, reasons do not cite the relation',
    )
    inverse_say: Phrases = Field(default_factory=dict, description="the same of the tail")

    @property
    def has_entities(self) -> bool:
        """Whether items may be related by what they have in common."""
        return bool(self.attributes) or (self.edges is not None and self.edges.entities)

    def phrase(self, language: str, *, forward: bool) -> str | None:
        """Return what a reason says of the head, or else of the tail, of an edge."""
        return (self.say if forward or self.symmetric or self.has_entities else self.inverse_say).get(
            language
        )

    @model_validator(mode="after")
    def _one_origin(self) -> Relation:
        if (self.edges is None) != bool(self.attributes):
            raise ValueError("a relation needs either edges (a file) or attributes")
        return self

    @model_validator(mode="after")
    def _one_direction(self) -> Relation:
        if self.attributes and (self.symmetric or self.transitive or self.inverse):
            raise ValueError(
                "items that share a value are related both ways: leave out symmetric, transitive and inverse"
            )
        if self.symmetric and (self.inverse or self.inverse_say):
            raise ValueError("a symmetric relation is its own inverse: leave out inverse and inverse_say")
        return self

    @model_validator(mode="after")
    def _phrases_have_their_slots(self) -> Relation:
        needed = ["title", "value"] if self.has_entities else ["title"]
        every: Mapping[str, Phrases] = {"say": self.say, "inverse_say": self.inverse_say}
        for name, phrases in every.items():
            for language, phrase in phrases.items():
                if sorted(_SLOT.findall(phrase)) != needed or not phrase.strip():
                    slots = " and ".join(f"{{{slot}}}" for slot in needed)
                    raise ValueError(f"{name}.{language} must hold {slots} once, and nothing else in braces")
        if self.has_entities and self.inverse_say:
            raise ValueError("items with something in common are related both ways: leave out inverse_say")
        return self
