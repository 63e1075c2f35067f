"""Requests that are wrong, each with the status it gets, the field that is blamed, and a word of the fix.

One row for each mistake that a client makes or an attacker tries. ``fix`` is looked for in the message about the field,
or in the detail where no field is to blame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FIT = "/v1/processes/fit/execution"
ROLLOUT = "/v1/processes/rollout/execution"
EVALUATE = "/v1/processes/evaluate/execution"
INGEST = "/v1/processes/ingest/execution"
SIMULATE = "/v1/processes/simulate/execution"
MODELS = "/v1/models"
TOKENS = "/v1/tokens"
NO_JOB = "0123456789abcdef"


@dataclass(frozen=True)
class Bad:
    """A request and its refusal."""

    id: str
    method: str
    path: str
    status: int
    field: str | None
    fix: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def post(
    id: str, path: str, body: Any, status: int, blamed: str | None, fix: str, headers: Mapping[str, str] | None = None
) -> Bad:
    """A POST of JSON, or of bytes as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Bad(id, "POST", path, status, blamed, fix, raw, {"Content-Type": "application/json", **(headers or {})})


def get(id: str, path: str, status: int, blamed: str | None, fix: str, headers: Mapping[str, str] | None = None) -> Bad:
    return Bad(id, "GET", path, status, blamed, fix, None, headers or {})


def delete(id: str, path: str, status: int, blamed: str | None, fix: str) -> Bad:
    return Bad(id, "DELETE", path, status, blamed, fix)


def fit(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    """A fit with one wrong input."""
    return post(f"fit-{id}", FIT, {"data": ["seen.zarr"], **inputs}, 422, blamed, fix)


def rollout(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    given = {"model": "m.model", "initial": "seen.zarr", "steps": 10, **inputs}
    return post(f"rollout-{id}", ROLLOUT, {k: v for k, v in given.items() if v is not ...}, 422, blamed, fix)


def evaluate(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    return post(f"evaluate-{id}", EVALUATE, {"model": "m.model", "data": "seen.zarr", **inputs}, 422, blamed, fix)


def ingest(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    return post(f"ingest-{id}", INGEST, {"files": ["run.lammpstrj"], **inputs}, 422, blamed, fix)


def simulate(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    return post(f"simulate-{id}", SIMULATE, {"system": "spring", **inputs}, 422, blamed, fix)


def token(id: str, blamed: str, fix: str, **inputs: Any) -> Bad:
    given = {"owner": "ada", "scopes": ["read"], **inputs}
    return post(f"token-{id}", TOKENS, {k: v for k, v in given.items() if v is not ...}, 422, blamed, fix)


def unreadable(id: str, raw: bytes, fix: str, blamed: str = "body") -> Bad:
    """A body that is no JSON object."""
    return post(f"body-{id}", FIT, raw, 400, blamed, fix)


def deep(levels: int) -> bytes:
    return b'{"data": ' + b"[" * levels + b"]" * levels + b"}"


UNREADABLE = (
    unreadable("empty", b"", "one JSON object"),
    unreadable("blank", b"  \n", "one JSON object"),
    unreadable("no-json", b"data=seen.zarr", "one JSON object"),
    unreadable("cut-short", b'{"data": ["seen.zarr"', "line 1"),
    unreadable("more-after-the-end", b'{"data": []} {}', "line 1"),
    unreadable("single-quotes", b"{'data': []}", "line 1"),
    unreadable("trailing-comma", b'{"data": ["a"],}', "line 1"),
    unreadable("comment", b'{"data": ["a"] /* mine */}', "line 1"),
    unreadable("list", b'[{"data": ["a"]}]', "a list"),
    unreadable("text", b'"seen.zarr"', "text"),
    unreadable("number", b"3", "a single value"),
    unreadable("null", b"null", "null"),
    unreadable("nan", b'{"data": ["a"], "ridge": NaN}', "a finite number or null"),
    unreadable("infinity", b'{"data": ["a"], "ridge": Infinity}', "a finite number or null"),
    unreadable("minus-infinity", b'{"data": ["a"], "ridge": -Infinity}', "a finite number or null"),
    unreadable("same-key-twice", b'{"data": ["a"], "data": ["b"]}', "give it once", blamed="data"),
    unreadable("same-key-twice-within", b'{"data": [{"a": 1, "a": 2}]}', "give it once", blamed="a"),
    unreadable("many-digits", b'{"data": ["a"], "seed": ' + b"9" * 5000 + b"}", "at most 19"),
    unreadable("not-utf-8", b'{"data": ["\xff\xfe"]}', "UTF-8"),
    unreadable("utf-16", '{"data": ["a"]}'.encode("utf-16"), "UTF-8"),
    unreadable("byte-order-mark", b'\xef\xbb\xbf{"data": ["a"]}', "BOM"),
    unreadable("control-character", b'{"data": ["a\nb"]}', "control character"),
    unreadable("bad-escape", b'{"data": ["\\x41"]}', "line 1"),
    unreadable("leading-zero", b'{"data": ["a"], "seed": 01}', "line 1"),
    unreadable("deep", deep(40), "16 levels"),
    unreadable("very-deep", deep(100_000), "16 levels"),
    unreadable("deep-objects", b'{"a":' * 5000 + b"1" + b"}" * 5000, "16 levels"),
)

MEDIA = (
    post("type-form", FIT, b"data=a", 415, "Content-Type", "application/json",
         {"Content-Type": "application/x-www-form-urlencoded"}),
    post("type-multipart", FIT, b"--x--", 415, "Content-Type", "application/json",
         {"Content-Type": "multipart/form-data; boundary=x"}),
    post("type-text", FIT, b"{}", 415, "Content-Type", "application/json", {"Content-Type": "text/plain"}),
    post("type-xml", FIT, b"<a/>", 415, "Content-Type", "application/json", {"Content-Type": "application/xml"}),
    post("type-empty", FIT, b"{}", 415, "Content-Type", "application/json", {"Content-Type": ""}),
    post("type-prefix", FIT, b"{}", 415, "Content-Type", "application/json", {"Content-Type": "application/jsonp"}),
    post("type-other-charset", FIT, b"{}", 415, "Content-Type", "UTF-8",
         {"Content-Type": "application/json; charset=latin-1"}),
    post("encoding-gzip", FIT, b"{}", 415, "Content-Encoding", "as it is", {"Content-Encoding": "gzip"}),
    post("models-type", MODELS, b"{}", 415, "Content-Type", "application/json", {"Content-Type": "text/html"}),
    post("too-large", FIT, b'{"data": ["' + b"a" * 2_000_000 + b'"]}', 413, None, "send less"),
)  # fmt: skip

VALUES = (
    post("nul", FIT, {"data": ["a\x00b"]}, 422, "data.0", "leave it out"),
    post("nul-in-key", FIT, {"data": ["a"], "x\x00": 1}, 422, "body", "leave it out"),
    post("half-a-pair", FIT, b'{"data": ["\\ud800"]}', 422, "data.0", "whole characters"),
    post("half-a-pair-in-key", FIT, b'{"data": ["a"], "\\udc00": 1}', 422, "body", "whole characters"),
    post("beyond-64-bits", FIT, {"data": ["a"], "seed": 2**64}, 422, "seed", "64 bits"),
    post("below-64-bits", ROLLOUT, {"model": "a", "initial": "b", "steps": -(2**64)}, 422, "steps", "64 bits"),
    post("beyond-double", FIT, b'{"data": ["a"], "ridge": 1e999}', 422, "ridge", "1e308"),
    post("nul-in-options", SIMULATE, {"system": "spring", "options": {"shape": "\x00"}}, 422, "options.shape", "leave"),
)

FITS = (
    post("fit-nothing", FIT, {}, 422, "data", "give a value"),
    fit("no-data", "data", "at least 1", data=[]),
    fit("data-text", "data", "tuple", data="seen.zarr"),
    fit("data-null", "data", "tuple", data=None),
    fit("data-number", "data.0", "string", data=[3]),
    fit("data-empty-text", "data.0", "at least 1", data=[""]),
    fit("data-long-text", "data.0", "at most 1024", data=["a" * 1025]),
    fit("data-line-break", "data.0", "pattern", data=["a\nb"]),
    fit("data-many", "data", "at most 10000", data=["a"] * 10_001),
    fit("unknown", "colour", "use one of cutoff", colour="red"),
    fit("misspelt", "featurs", "did you mean 'features'", featurs=12),
    fit("where-it-runs", "workers", "is not known here", workers=4),
    fit("threads", "threads", "is not known here", threads=4),
    fit("features-zero", "features", "greater than or equal to 1", features=0),
    fit("features-negative", "features", "greater than or equal to 1", features=-5),
    fit("features-text", "features", "integer", features="256"),
    fit("features-fraction", "features", "integer", features=12.5),
    fit("features-flag", "features", "integer", features=True),
    fit("features-list", "features", "integer", features=[256]),
    fit("features-null", "features", "integer", features=None),
    fit("cutoff-words", "cutoff", "such as 2.5", cutoff="far away"),
    fit("cutoff-negative", "cutoff", "such as 2.5", cutoff=-1.0),
    fit("cutoff-list", "cutoff", "string", cutoff=[2.5]),
    fit("blocks-unknown", "blocks.0", "'kinetic', 'pair'", blocks=["triple"]),
    fit("blocks-twice", "blocks", "each block once", blocks=["pair", "pair"]),
    fit("blocks-none", "blocks", "at least one", blocks=[]),
    fit("sampler", "sampler", "'auto', 'elm'", sampler="random"),
    fit("input-map", "input_map", "'auto', 'r'", input_map="r3"),
    fit("taper", "taper", "'auto', 'smooth'", taper="hard"),
    fit("solver", "solver", "'sketched'", solver="gmres"),
    fit("seed", "seed", "greater than or equal to 0", seed=-1),
    fit("ridge", "ridge", "greater than or equal to 0", ridge=-0.1),
    fit("rank-cutoff", "rank_cutoff", "less than 1", rank_cutoff=1.5),
    fit("groups", "groups", "greater than or equal to 2", groups=1),
    fit("l-max", "l_max", "less than or equal to 3", l_max=9),
    fit("radial", "radial", "greater than or equal to 1", radial=0),
    fit("direct-links", "direct_links", "boolean", direct_links="yes"),
    fit("publish-upper-case", "publish", "pattern", publish="Liquid"),
    fit("publish-path", "publish", "pattern", publish="../liquid"),
    fit("publish-long", "publish", "pattern", publish="a" * 65),
    fit("publish-dots", "publish", "pattern", publish=".."),
)

ROLLOUTS = (
    post("rollout-nothing", ROLLOUT, {}, 422, "steps", "give a value"),
    rollout("no-model", "model", "give a value", model=...),
    rollout("no-steps", "steps", "give a value", steps=...),
    rollout("steps-zero", "steps", "greater than or equal to 1", steps=0),
    rollout("steps-text", "steps", "integer", steps="many"),
    rollout("every", "every", "greater than or equal to 1", every=0),
    rollout("dt-text", "dt", "number", dt="small"),
    rollout("replicas", "replicas", "greater than or equal to 1", replicas=0),
    rollout("temperature", "temperature", "greater than or equal to 0", temperature=-1.0),
    rollout("integrator", "integrator", "'verlet'", integrator="euler"),
    rollout("forces", "forces", "boolean", forces=1),
    rollout("frames", "frames", "string", frames=3),
    rollout("model-list", "model", "string", model=["a"]),
    rollout("out", "out", "is not known here", out="somewhere.zarr"),
)

EVALUATIONS = (
    post("evaluate-nothing", EVALUATE, {}, 422, "model", "give a value"),
    evaluate("rollout-and-trajectories", "body", "leave rollout out", rollout=True, trajectories="t.zarr"),
    evaluate("dt-without-rollout", "body", "set rollout to true", dt=0.1),
    evaluate("dt-zero", "dt", "greater than 0", rollout=True, dt=0.0),
    evaluate("rollout-text", "rollout", "boolean", rollout="true"),
)

INGESTIONS = (
    post("ingest-nothing", INGEST, {}, 422, "files", "give a value"),
    ingest("no-files", "files", "at least 1", files=[]),
    ingest("units", "units", "'lj'", units="imperial"),
    ingest("dt", "dt", "greater than 0", dt=0),
    ingest("pbc", "pbc", "at most 3", pbc=[True] * 4),
    ingest("pbc-text", "pbc.0", "boolean", pbc=["T"]),
    ingest("energies-per", "energies_per", "'atom'", energies_per="mole"),
)

SIMULATIONS = (
    post("simulate-nothing", SIMULATE, {}, 422, "system", "give a value"),
    simulate("system", "system", "known:", system="pendulum"),
    simulate("system-long", "system", "at most 100", system="a" * 101),
    simulate("option", "options", "nonsense", options={"nonsense": 1}),
    simulate("option-value", "options", "n_frames", options={"n_frames": -3}),
    simulate("options-list", "options", "dict", options=[1]),
    simulate("options-many", "options", "at most 50", options={f"o{k}": 1 for k in range(51)}),
)

OTHERS = (
    post("unknown-process", "/v1/processes/dream/execution", {}, 404, "process", "use one of fit"),
    get("process", "/v1/processes/dream", 404, "process", "use one of fit"),
    post("key-empty", FIT, {"data": ["seen.zarr"]}, 422, "Idempotency-Key", "pattern", {"Idempotency-Key": ""}),
    post("key-long", FIT, {"data": ["seen.zarr"]}, 422, "Idempotency-Key", "pattern", {"Idempotency-Key": "k" * 256}),
    post("key-tab", FIT, {"data": ["seen.zarr"]}, 422, "Idempotency-Key", "pattern", {"Idempotency-Key": "a\tb"}),
    post("model-nothing", MODELS, {}, 422, "name", "give a value"),
    post("model-name", MODELS, {"name": "A B", "job": NO_JOB}, 422, "name", "pattern"),
    post("model-job", MODELS, {"name": "a", "job": "1"}, 422, "job", "pattern"),
    post("model-no-job", MODELS, {"name": "a", "job": NO_JOB}, 404, None, "list of jobs"),
    post("model-more", MODELS, {"name": "a", "job": NO_JOB, "version": 3}, 422, "version", "use one of name, job"),
    post("token-nothing", TOKENS, {}, 422, "owner", "give a value"),
    token("owner", "owner", "pattern", owner="../ada"),
    token("owner-empty", "owner", "pattern", owner=""),
    token("scope", "scopes.0", "'read'", scopes=["root"]),
    token("no-scopes", "scopes", "at least 1", scopes=[]),
    token("scopes-text", "scopes", "list", scopes="read"),
    token("days", "expires_in_days", "greater than or equal to 1", expires_in_days=0),
    token("days-many", "expires_in_days", "less than or equal to 3650", expires_in_days=10_000),
    token("quota", "queued_jobs", "greater than or equal to 1", queued_jobs=0),
    token("unknown", "name", "is not known here", name="mine"),
    get("job-name", "/v1/jobs/mine", 404, "job_id", "pattern"),
    get("job-upper-case", f"/v1/jobs/{NO_JOB.upper()}", 404, "job_id", "pattern"),
    get("job-long", "/v1/jobs/" + "a" * 5000, 404, "job_id", "pattern"),
    get("job-nul", "/v1/jobs/%00", 404, "job_id", "pattern"),
    get("job-absent", f"/v1/jobs/{NO_JOB}", 404, None, "list of jobs"),
    get("results-absent", f"/v1/jobs/{NO_JOB}/results", 404, None, "list of jobs"),
    get("logs-absent", f"/v1/jobs/{NO_JOB}/logs", 404, None, "list of jobs"),
    get("events-absent", f"/v1/jobs/{NO_JOB}/events", 404, None, "list of jobs"),
    get("trajectories-absent", f"/v1/jobs/{NO_JOB}/results/trajectories", 404, None, "list of jobs"),
    delete("dismiss-absent", f"/v1/jobs/{NO_JOB}", 404, None, "list of jobs"),
    get("limit-zero", "/v1/jobs?limit=0", 422, "limit", "greater than or equal to 1"),
    get("limit-large", "/v1/jobs?limit=501", 422, "limit", "less than or equal to 500"),
    get("limit-text", "/v1/jobs?limit=all", 422, "limit", "integer"),
    get("limit-twice", "/v1/jobs?limit=1&limit=2", 422, "limit", "give it once"),
    get("status", "/v1/jobs?status=done", 422, "status.0", "'accepted', 'running'"),
    get("process-filter", "/v1/jobs?process=dream", 422, "process", "'fit', 'rollout'"),
    get("owner-filter", "/v1/jobs?owner=%00", 422, "owner", "pattern"),
    get("after", "/v1/jobs?after=1", 422, "after", "pattern"),
    get("after-absent", f"/v1/jobs?after={NO_JOB}", 422, "after", "`next`"),
    get("unknown-parameter", "/v1/jobs?state=running", 422, "state", "use after, limit"),
    get("parameter-where-none-is", "/v1/cluster?verbose=1", 422, "verbose", "leave it out"),
    get("log-after", f"/v1/jobs/{NO_JOB}/logs?after=-1", 422, "after", "greater than or equal to 0"),
    get("log-after-huge", f"/v1/jobs/{NO_JOB}/logs?after={2**70}", 422, "after", "less than or equal"),
    get("log-limit", f"/v1/jobs/{NO_JOB}/logs?limit=5000", 422, "limit", "less than or equal to 1000"),
    get("event-id", f"/v1/jobs/{NO_JOB}/events", 422, "Last-Event-ID", "integer", {"Last-Event-ID": "first"}),
    get("event-id-negative", f"/v1/jobs/{NO_JOB}/events", 422, "Last-Event-ID", "greater", {"Last-Event-ID": "-1"}),
    get("model-absent", "/v1/models/none", 404, None, "model"),
    get("model-path", "/v1/models/..%2F..%2Fetc", 404, None, "nothing at this path"),
    get("model-version", "/v1/models/none/zero", 404, "version", "integer"),
    get("model-version-zero", "/v1/models/none/0", 404, "version", "greater than or equal to 1"),
    get("models-after", "/v1/models?after=none", 422, "after", "`next`"),
    get("models-name", "/v1/models?name=A%20B", 422, "name", "pattern"),
    delete("token-absent", "/v1/tokens/abc", 404, None, "list of tokens"),
    delete("token-path", "/v1/tokens/a-b", 404, "token_id", "pattern"),
    get("nowhere", "/v1/nowhere", 404, None, "/openapi.json"),
    get("nowhere-traversal", "/v1/jobs/..%2f..%2fetc%2fpasswd", 404, None, "/openapi.json"),
    Bad("put", "PUT", f"/v1/jobs/{NO_JOB}", 405, None, "DELETE or GET"),
    Bad("patch", "PATCH", "/v1/jobs", 405, None, "GET"),
    Bad("post-jobs", "POST", "/v1/jobs", 405, None, "GET"),
    Bad("trace", "TRACE", "/v1/jobs", 405, None, "GET"),
    Bad("method-of-webdav", "PROPFIND", "/v1/jobs", 405, None, "GET"),
    get("execute-by-get", FIT, 405, None, "POST"),
)  # fmt: skip

CASES = (*UNREADABLE, *MEDIA, *VALUES, *FITS, *ROLLOUTS, *EVALUATIONS, *INGESTIONS, *SIMULATIONS, *OTHERS)
