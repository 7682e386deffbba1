"""What each measure of reasons means, for tables and reports."""

from __future__ import annotations

MEANINGS = {
    "statement_precision": "share of the statements in shown sentences that the store's facts bear out",
    "evidence_validity": (
        "share of cited evidence that exists: the person's item, the item's attribute, a fact of the moment"
    ),
    "explained_share": (
        "of what the whole request adds to the item's log p, the share that what a reason cites adds"
    ),
    "largest_cause": (
        "share of reasons that cite something of what in the request adds most: history, wish, moment, "
        "profile or popularity"
    ),
    "information": "bits of a fact that reasons name: -log2 of the share of items that have it, mean",
    "distinct_points": "share of the reasons of a list that cite something else than each one before",
    "taste_consistency": (
        "share of reasons that name nothing which the person disliked at least as often as not, and "
        "more than once"
    ),
    "ablation_agreement": (
        "share of cited items, or groups of them, without which the item loses more log p than without "
        "as many random other ones"
    ),
    "context_precision": (
        "share of the reasons that cite time, place or another fact of the moment whose item "
        "measurably owes it to one that they cite"
    ),
    "context_recall": (
        "share of the reasons whose item measurably owes its place to time, place or another "
        "fact of the moment that cite one"
    ),
    "comprehensiveness": "probability lost without the cited items; more is better",
    "comprehensiveness_random": "the same of as many random items of the history",
    "sufficiency": "probability lost with nothing of the history but the cited items; less is better",
    "sufficiency_random": "the same of as many random items of the history",
    "usr": "unique sentences over all sentences",
    "distinct_1": "distinct words over all words",
    "distinct_2": "distinct pairs of words over all pairs",
    "fmr": "share of reasons that name the attribute of their item that the person liked most often",
    "fcr": "share of all attribute values that some reason names",
    "div": "attribute values that two reasons have in common, on average; less is better",
    "template_share": "share of reasons that no model wrote",
    "swap_specificity": "share of reasons that would not hold of a random other candidate",
    "check_failures": (
        "share of reasons of which at least one written sentence failed its check before it was shown"
    ),
    "latency_s": "seconds for evidence and sentence, per reason; of requests at the same time, each its own",
    "tokens": (
        "computed tokens for evidence and sentence, per reason: those of cached prefixes are not computed"
    ),
    "cost_ratio": "computed tokens of evidence and reasons over those of ranking",
    "reference_similarity": "cosine of a reason's and a reference's embedding",
    "reference_similarity_shuffled": "the same with another item's reference: the floor",
}
"""Meaning of each measure, by its name in `result.json`."""
