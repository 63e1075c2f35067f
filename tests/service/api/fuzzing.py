"""Schemathesis over the published OpenAPI document against a running server: requests drawn from the schemas, right and
wrong, and walks along the links from what one operation answers to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
"""What every answer is held to: no failure of the server; statuses, media types, schemas and headers as documented;
requests that the schema forbids are refused; methods that are not there are 405."""

_OFF = (
    # the schema cannot say which references exist, nor what a cutoff looks like
    "positive_data_acceptance",
    # DELETE dismisses a job and revokes a token: both stay in the lists, and the job has its log
    "use_after_free",
    # all requests are made by one administrator; the matrix of scopes has tests of its own
    "ignored_auth",
    "object_level_authorization",
    "ensure_resource_availability",
    "missing_required_header",
)


@dataclass
class Findings:
    """What a run did and found."""

    cases: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {number}" for status, number in sorted(self.statuses.items()))
        phases = ", ".join(f"{phase}: {number}" for phase, number in self.phases.items())
        return f"{self.cases} cases ({phases}) over {len(self.operations)} operations; answers {statuses}"


def fuzz(
    url: str,
    headers: dict[str, str],
    *,
    examples: int,
    walks: int,
    coverage: bool,
    seed: int = 1,
    without: Sequence[str] = (),
) -> Findings:
    """Draw ``examples`` requests for each operation and ``walks`` along the links, and with ``coverage`` every limit of
    every field; paths ``without`` are left out."""
    drawing = {"with-security-parameters": False, "no-shrink": True}
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "headers": headers,
            "request-timeout": 20,
            # a stream has no end while its job runs
            "max-stream-events": 1,
            "continue-on-failure": True,
            "generation": {**drawing, "max-examples": max(examples, 1)},
            "checks": {
                **{name: {"enabled": False} for name in _OFF},
                "negative_data_rejection": {"expected-statuses": ["4XX"]},
            },
            "phases": {
                "coverage": {"enabled": coverage},
                "fuzzing": {"enabled": examples > 0},
                "stateful": {"enabled": walks > 0, "generation": {**drawing, "max-examples": max(walks, 1)}},
            },
        }
    )
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    # the stream of all jobs says nothing until something happens
    schema = schema.exclude(path=["/v1/events", *without])
    findings = Findings()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _count(findings, event)
        elif isinstance(event, events.NonFatalError):
            findings.errors.append(f"{event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return findings


def _count(findings: Findings, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    findings.cases += len(recorder.interactions)
    findings.phases[event.phase.value] += len(recorder.interactions)
    for case_id, interaction in recorder.interactions.items():
        if interaction.response is not None:
            findings.statuses[interaction.response.status_code] += 1
        if case_id in recorder.cases:
            findings.operations[recorder.cases[case_id].value.operation.label] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            findings.checks[check.name] += 1
            if check.failure_info is not None:
                where = recorder.cases[case_id].value.operation.label
                failure = check.failure_info.failure
                key = f"{check.name} at {where}: {failure.title}"
                findings.failures.setdefault(key, f"{failure.message}\n{check.failure_info.code_sample}")
