"""Messages for clients: no absolute path of the server, and still of use."""

from __future__ import annotations

import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parts import Parts

from hamfit_service.security.redaction import Redaction

JOB = "0123456789abcdef"
REDACTION = Redaction((Path("/data/my own"), Path("/srv/hamfit/shared")), Path("/srv/hamfit"))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("/data/my own/runs/seen.zarr: is damaged", "runs/seen.zarr: is damaged"),
        ("the folder /data/my own is empty", "the folder . is empty"),
        ("/srv/hamfit/shared/seen.zarr is damaged", "seen.zarr is damaged"),
        (f"model /srv/hamfit/jobs/{JOB}/results/model is damaged", f"model job:{JOB}/model is damaged"),
        (f"'/srv/hamfit/jobs/{JOB}'", f"'job:{JOB}'"),
        (f"/srv/hamfit/models/liquid/{JOB}/zarr.json: gone", "liquid/zarr.json: gone"),
        ("/srv/hamfit/hamfit.sqlite is locked", "hamfit.sqlite is locked"),
        ("No such file: '/home/jo/secret folder/x.npz'", "No such file: 'x.npz'"),
        ('File "/usr/lib/python3/site.py", line 3', 'File "site.py", line 3'),
        ("PATH=/usr/bin:/opt/bin", "PATH=bin"),
        ("(/etc/passwd)", "(passwd)"),
        ("file:///etc/passwd and file:/etc/shadow", "passwd and file:shadow"),
        ("sqlite:////srv/hamfit/hamfit.sqlite", "hamfit.sqlite"),
        ("/data/my own/../../etc/passwd", "passwd"),
        ("//data//runs/x", "x"),
        # what is no path of this machine stays as it is
        ("see https://example.org/a/b or /v1/jobs/1/results", "see https://example.org/a/b or /v1/jobs/1/results"),
        ("runs/seen.zarr, ./x, ../x, ~/x and 1/2 of text/html", "runs/seen.zarr, ./x, ../x, ~/x and 1/2 of text/html"),
        ("rows / second", "rows / second"),
        ("/v1/../etc/passwd", "passwd"),
    ],
)
def test_paths_are_named_as_clients_know_them(text: str, expected: str) -> None:
    assert REDACTION(text) == expected


def test_links_to_the_roots_are_known_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to("disk")
    redaction = Redaction((tmp_path / "data",), tmp_path / "root")
    assert redaction(f"{tmp_path}/data/a/x {tmp_path}/disk/a/x") == "a/x a/x"


NAME = st.text(string.ascii_letters + string.digits + "._-+@()%", min_size=1, max_size=8).filter(
    lambda name: name.strip(".") != ""
)
PLACE = st.builds(
    lambda start, names: start + "/" + "/".join(names),
    st.sampled_from(["", "/data/my own", "/srv/hamfit", "/srv/hamfit/jobs/" + JOB, "/home/jo", "/srv/hamfit/shared"]),
    st.lists(NAME, min_size=2, max_size=5),
)
AROUND = st.sampled_from(
    [("", ""), ("'", "'"), ('"', '"'), ("at ", ": no"), ("(", ")"), ("x=", ""), ("[", ", 1]"), ("file://", "")]
)


@given(st.lists(st.tuples(AROUND, PLACE), min_size=1, max_size=4))
@example([(("'", "'"), "/home/jo/x y/z")])
def test_no_absolute_path_is_left(places: list[tuple[tuple[str, str], str]]) -> None:
    text = REDACTION(" and ".join(f"{before}{place}{after}" for (before, after), place in places))
    # a slash after a name belongs to a relative path
    assert re.search(r"(?<![\w.+@()%~-])/\S", text) is None
    assert not any(place in text for _, place in places)


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "/" * 10**6, "'/" * 10**5, " /v1/" * 10**5, "a:/" * 10**5, "a://" * 10**5]
)
def test_a_long_text_does_not_take_long(text: str) -> None:
    started = time.process_time()
    REDACTION(text)
    assert time.process_time() - started < 5.0


def test_the_confinement_of_a_service_redacts_its_own_places(parts: Parts) -> None:
    job = parts.job("fit")
    text = (
        f"{parts.folders.job(job.id).results}/model and {parts.data}/seen.zarr and {parts.folders.root}/hamfit.sqlite"
    )
    assert parts.confinement.redacted(text) == f"job:{job.id}/model and seen.zarr and hamfit.sqlite"
