"""Personal data in a request, masked where it comes in.

Every later step reads what is returned here: prompts, traces, logs, messages of errors and reasons hold the
masked texts. Ids of users are kept, and so is what names an item or an attribute of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from recsys.config import Domain
from recsys.context.builder import one_line
from recsys.context.pii import mask, mask_facts, mask_json, mask_moment, mask_place, names_of
from recsys.data.catalog import Catalog
from recsys.errors import RecsysError
from recsys.recommender.request import RequestOptions
from recsys.types import Conversation, Filter, Place, Recommendations, User, WishCondition


def masked_options(
    options: RequestOptions, user: User | None, domain: Domain, catalog: Catalog
) -> RequestOptions:
    """Return what a request says, with personal data masked.

    Doing so twice changes nothing. Titles become ids where they name an item, as anything may stand
    between the words of a title.
    """
    privacy, names = domain.privacy, names_of(user, domain.privacy)
    moment = partial(mask_moment, privacy=privacy, names=names)
    masked: RequestOptions = {**options}
    if liked := options.get("liked"):
        masked["liked"] = [_item_id(name, catalog) or mask(name, privacy, names) for name in liked]
    if disliked := options.get("disliked"):
        masked["disliked"] = [_item_id(name, catalog) or mask(name, privacy, names) for name in disliked]
    if isinstance(at := options.get("at"), str):
        masked["at"] = moment(at)
    match options.get("place"):
        case str(text):
            masked["place"] = moment(text)
        case Place() as place:
            masked["place"] = mask_place(place, privacy, names)
    if country := options.get("country"):
        masked["country"] = mask(country, privacy, names)
    masked |= _masked_wish(options, domain, catalog, names)
    if extra := options.get("extra"):
        facts = mask_facts({name: one_line(value) for name, value in extra.items()}, privacy, names)
        masked["extra"] = {mask(name, privacy, names): value for name, value in facts.items()}
    if rule := options.get("rule"):
        masked["rule"] = _masked_rule(rule, domain, catalog)
    return masked


PRIVATE = "[private]"
_OF_THE_PERSON = (
    "liked",
    "disliked",
    "wish",
    "extra",
    "conversation",
)  # fields of a request that tell about a person


def without_private_facts(answer: Recommendations) -> Recommendations:
    """Return an answer as a trace of a private domain keeps it."""
    lines = [line.model_copy(update={"explanation": None, "remarks": ()}) for line in answer.recommendations]
    context = answer.context.model_copy(
        update={
            "wish": PRIVATE if answer.context.wish else "",
            "extra": dict.fromkeys(answer.context.extra, PRIVATE),
            "notes": (),
        }
    )
    note = "the trace of this answer keeps no reasons: what is known of people here is private"
    notes = (*answer.notes, note)
    kept = {"recommendations": tuple(lines), "context": context, "notes": notes}
    return answer.model_copy(update={**kept, "understood": None, "conversation": None})


def without_private_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as a trace of a private domain keeps it."""
    return {name: PRIVATE if name in _OF_THE_PERSON else value for name, value in request.items()}


def _item_id(name: str, catalog: Catalog) -> str | None:
    try:
        return catalog.find_any(name).id
    except RecsysError:
        return None


def _masked_wish(
    options: RequestOptions, domain: Domain, catalog: Catalog, names: Sequence[str]
) -> RequestOptions:
    masked: RequestOptions = {}
    if wish := options.get("wish"):
        masked["wish"] = mask(one_line(wish), domain.privacy, names)
    if conversation := options.get("conversation"):
        masked["conversation"] = _masked_conversation(conversation, domain, catalog, names)
    return masked


def _masked_conversation(
    conversation: Conversation, domain: Domain, catalog: Catalog, names: Sequence[str]
) -> Conversation:
    """Mask the words of a conversation, and values that the catalogue does not have."""
    privacy = domain.privacy

    def masked(one: WishCondition) -> WishCondition:
        known = catalog.attributes.get(one.attribute, ())
        values = tuple(text if text in known else mask(text, privacy, names) for text in one.values)
        return one.model_copy(update={"values": values})

    return conversation.model_copy(
        update={
            "words": mask(one_line(conversation.words), privacy, names),
            "conditions": tuple(map(masked, conversation.conditions)),
        }
    )


def _masked_rule(rule: Filter, domain: Domain, catalog: Catalog) -> Filter:
    """Mask the texts of a filter that the catalogue does not know."""
    known = (catalog.attributes, *catalog.attributes.values())

    def masked(text: str) -> str:
        is_known = catalog.get(text) or any(text in names for names in known)
        return text if is_known else mask(text, domain.privacy)

    return Filter.model_validate(mask_json(rule.model_dump(mode="json"), masked, keys=True))
