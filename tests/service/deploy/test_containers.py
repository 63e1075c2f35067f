"""What deploy/ says about containers, read as their programs would: no root, no loose versions, no open ports."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from hamfit_service.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
OURS = ("service", "scheduler", "worker")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their words."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_runs_as_a_user_without_rights_and_is_watched() -> None:
    words = instructions()
    last = max(n for n, (name, _) in enumerate(words) if name == "FROM")
    users = [what for name, what in words[last:] if name == "USER"]
    assert users == ["10001:10001"]
    assert sum(name == "FROM" for name, _ in words) == 2
    assert sum(name == "HEALTHCHECK" for name, _ in words) == 1
    assert [what for name, what in words if name == "EXPOSE"] == ["8741"]


def test_every_image_has_a_version() -> None:
    images = [what.split()[0] for name, what in instructions() if name == "FROM"]
    images += [service["image"] for service in COMPOSE["services"].values()]
    for image in set(images):
        name, _, tag = image.partition(":")
        assert tag, f"{name} has no version"
        assert tag != "latest"
        # nothing but names: where images come from is the machine's affair
        assert "/" not in image


def test_what_is_copied_into_the_image_is_there_and_is_no_secret() -> None:
    allowed = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [
        word for name, what in instructions() if name == "COPY" and "--from" not in what for word in what.split()[:-1]
    ]
    assert set(copied) == set(allowed)
    for name in copied:
        assert (DEPLOY.parent / name).exists()
        assert "secret" not in name


def test_only_the_service_is_published_and_only_on_this_machine_by_itself() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"service": ["${HAMFIT_PUBLISH:-127.0.0.1:8741}:8741"]}
    assert COMPOSE["networks"]["back"] == {"internal": True}
    for name, service in COMPOSE["services"].items():
        assert service["networks"] == (["front", "back"] if name == "service" else ["back"])


def test_every_container_is_watched_and_restarted() -> None:
    for service in COMPOSE["services"].values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    assert COMPOSE["services"]["service"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "user" not in service  # the image's own


def test_the_service_and_the_workers_see_the_same_files() -> None:
    volumes = {name: COMPOSE["services"][name]["volumes"] for name in OURS}
    assert volumes["service"] == volumes["worker"]
    assert volumes["scheduler"] == []
    assert any(volume.endswith(":/data:ro") for volume in volumes["service"])


def test_passwords_and_keys_come_from_files_and_each_goes_where_it_is_needed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(DEPLOY / "prepare"), str(tmp_path / "secrets")], check=True)
    folder = tmp_path / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"secrets/{name}"}
        assert (folder / name).is_file()
    used = {name: set(service["secrets"]) for name, service in COMPOSE["services"].items()}
    assert used["postgres"] == {"postgres_password"}
    for name in OURS:
        assert used[name] - {"hamfit.toml"} == {"ca.pem", f"{name}.pem", f"{name}.key"}
    assert "ca.key" not in COMPOSE["secrets"]
    password = (folder / "postgres_password").read_text()
    assert password not in str(COMPOSE)
    settings = Settings.load(folder / "hamfit.toml")
    assert settings.database == f"postgresql+psycopg://hamfit:{password}@postgres/hamfit"
    assert password not in repr(settings)
    assert settings.cluster == "tls://scheduler:8786"
    # again changes nothing
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run([sys.executable, str(DEPLOY / "prepare"), str(folder)], check=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_certificates_that_end_soon_are_renewed_by_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> dict[str, bytes]:
        subprocess.run([sys.executable, str(DEPLOY / "certificates"), str(tmp_path)], check=True)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    first = make()
    assert make() == first
    text = (DEPLOY / "certificates").read_text().replace("ROLE_DAYS = 825", "ROLE_DAYS = 7")
    soon = tmp_path.parent / "short"
    soon.write_text(text)
    (tmp_path / "worker.pem").unlink()
    subprocess.run([sys.executable, str(soon), str(tmp_path)], check=True)
    third = make()
    assert {name for name in first if third[name] != first[name]} == {"worker.pem", "worker.key"}
    authority = x509.load_pem_x509_certificate(third["ca.pem"])
    x509.load_pem_x509_certificate(third["worker.pem"]).verify_directly_issued_by(authority)
    assert (tmp_path / "worker.key").stat().st_mode & 0o077 == 0


def test_health_tells_life_from_death() -> None:
    script = [sys.executable, str(DEPLOY / "health")]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        assert subprocess.run([*script, "tcp", port]).returncode == 0
    assert subprocess.run([*script, "tcp", port], capture_output=True).returncode == 1
    assert subprocess.run([*script, "http", port], capture_output=True).returncode == 1
