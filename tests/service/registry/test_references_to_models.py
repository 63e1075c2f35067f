"""References to published models: a name means its newest version when a job is submitted, and that one ever after."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import Parts

from hamfit.model import Model
from hamfit_service.registry.models import ModelDamaged
from hamfit_service.security.confinement import ReferenceRefused


def test_a_name_is_pinned_to_its_newest_version(parts: Parts, chain: Path) -> None:
    assert parts.confinement.pinned("model", "liquid") == "liquid"
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    pinned = parts.confinement.pinned("model", "liquid")
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    assert pinned == "liquid@1"
    assert parts.confinement.pinned("model", pinned) == pinned
    assert parts.confinement.pinned("model", "liquid") == "liquid@2"
    assert parts.confinement("model", pinned) == parts.registry.path("liquid", 1)
    assert Model.open(parts.confinement("model", pinned))


def test_a_published_name_wins_over_a_folder_which_is_to_be_had_as_a_path(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    (parts.data / "liquid").mkdir()
    (parts.data / "liquid" / "_manifest.json").write_text("{}")
    assert parts.confinement.pinned("model", "liquid") == "liquid@1"
    assert parts.confinement.pinned("model", "./liquid") == "./liquid"
    assert parts.confinement("model", "./liquid") == parts.data / "liquid"
    assert parts.confinement.pinned("dataset", "liquid") == "liquid"


def test_a_path_stays_a_path_when_its_name_is_published_before_the_job_begins(parts: Parts, chain: Path) -> None:
    (parts.data / "liquid").mkdir()
    (parts.data / "liquid" / "_manifest.json").write_text("{}")
    pinned = parts.confinement.pinned("model", "liquid")
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    assert parts.confinement("model", pinned) == parts.data / "liquid"


def test_a_model_is_no_dataset_and_an_unknown_one_is_refused(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    for kind, reference in (("dataset", "liquid@1"), ("file", "liquid@1"), ("model", "liquid@2"), ("model", "water@1")):
        with pytest.raises(ReferenceRefused):
            parts.confinement(kind, reference)


def test_a_model_that_was_tampered_with_is_refused_when_the_job_begins(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    found = parts.confinement("model", "liquid@1")
    (found / "_manifest.json").chmod(0o644)
    (found / "_manifest.json").write_text("{}")
    with pytest.raises(ModelDamaged):
        parts.confinement("model", "liquid@1")


def test_the_model_of_a_fit_is_found_by_its_job(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    assert Model.open(parts.confinement("model", f"job:{job.id}"))
