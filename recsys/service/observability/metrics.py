"""Prometheus metrics of one server process."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recsys.types import Recommendations, Why

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
MASS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ODDS = (-8, -6, -4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 6, 8)


class Metrics:
    """The metrics, in a registry of their own.

    Labels have few values, none of them from the text of a client.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "whyrec_http_requests", "Requests by route.", ("method", "route", "status"), registry=r
        )
        self.latency = Histogram(
            "whyrec_http_seconds", "Request to answer.", ("route",), buckets=SECONDS, registry=r
        )
        self.stage = Histogram(
            "whyrec_stage_seconds",
            "Each stage of a recommendation.",
            ("domain", "stage"),
            buckets=SECONDS,
            registry=r,
        )
        self.tokens = Counter(
            "whyrec_tokens",
            "Engine work: computed, cached, generated.",
            ("domain", "stage", "kind"),
            registry=r,
        )
        self.fallbacks = Counter(
            "whyrec_fallbacks",
            "Answers in which a stage was replaced by something simpler.",
            ("domain", "kind"),
            registry=r,
        )
        self.parses = Counter(
            "whyrec_parses", "Rankings by what became of the output.", ("domain", "category"), registry=r
        )
        self.reasons = Counter(
            "whyrec_reasons", "Reasons by who worded them.", ("domain", "source"), registry=r
        )
        self.grounding = Counter(
            "whyrec_grounding_failures", "Sentences that failed their check.", ("domain", "kind"), registry=r
        )
        self.label_mass = Histogram(
            "whyrec_label_mass",
            "Probability that the model gave to the allowed labels.",
            ("domain",),
            buckets=MASS,
            registry=r,
        )
        self.log_odds = Histogram(
            "whyrec_log_odds",
            "What the model said of what was returned, nats: drift shows here.",
            ("domain",),
            buckets=ODDS,
            registry=r,
        )
        self.feedback = Counter("whyrec_feedback", "Feedback by kind.", ("domain", "event"), registry=r)
        self.arm_answers = Counter(
            "whyrec_arm_answers",
            "Answers to users and sessions, by arm of a scenario.",
            ("domain", "scenario", "arm"),
            registry=r,
        )
        self.arm_feedback = Counter(
            "whyrec_arm_feedback",
            "Feedback on those answers, by kind.",
            ("domain", "scenario", "arm", "event"),
            registry=r,
        )
        self.shed = Counter("whyrec_shed", "Requests answered 503 because the queue was full.", registry=r)
        self.waiting = Gauge("whyrec_queue_length", "Requests that wait for a place.", registry=r)
        self.running = Gauge("whyrec_running", "Requests that use the engine.", registry=r)
        # The sum of both: the autoscaler takes one metric.
        self.in_flight = Gauge(
            "whyrec_in_flight", "Requests that wait for a place or use the engine.", registry=r
        )

    def count_answer(self, answer: Recommendations) -> None:
        """Count a list of recommendations."""
        domain = answer.domain
        for stage, seconds in answer.timings.items():
            self.stage.labels(domain, stage).observe(seconds)
        for stage, usage in answer.usage_by_stage.items():
            work = {
                "computed": usage.prompt_tokens - usage.cached_tokens,
                "cached": usage.cached_tokens,
                "generated": usage.generated_tokens,
            }
            for kind, tokens in work.items():
                self.tokens.labels(domain, stage, kind).inc(max(0, tokens))
        if answer.parse:
            self.parses.labels(domain, answer.parse.category).inc()
        if answer.usage.label_mass is not None:
            self.label_mass.labels(domain).observe(answer.usage.label_mass)
        self._count_degraded(answer)
        for line in answer:
            if line.log_odds is not None:
                self.log_odds.labels(domain).observe(line.log_odds)
            if line.explanation:
                self.reasons.labels(domain, line.explanation.source).inc()
                for failure in line.explanation.failures:
                    self.grounding.labels(domain, _kind(failure)).inc()

    def count_exposure(self, answer: Recommendations) -> None:
        """Count an answer to a user or session for the arms that produced it."""
        for scenario, arm in answer.arms.items():
            self.arm_answers.labels(answer.domain, scenario, arm).inc()

    def count_feedback(self, domain: str, event: str, arms: Mapping[str, str]) -> None:
        """Count feedback, also for the arms that produced the answer it is about."""
        self.feedback.labels(domain, event).inc()
        for scenario, arm in arms.items():
            self.arm_feedback.labels(domain, scenario, arm, event).inc()

    def count_explanation(self, why: Why) -> None:
        """Count an explanation."""
        self._count_degraded(why)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _count_degraded(self, answer: Recommendations | Why) -> None:
        for note in answer.degraded:
            self.fallbacks.labels(answer.domain, _kind(note)).inc()


def _kind(note: str) -> str:
    """Return the first word of a note, which has few values."""
    return note.partition(":")[0].strip()[:40]
