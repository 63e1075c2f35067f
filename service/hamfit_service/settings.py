"""Settings of the service: read once, from flags, the environment (HAMFIT_...) and a TOML file, in that order."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hamfit.checked_options import available_cores, read_toml
from hamfit.errors import SpecError
from hamfit_service.clusters.gpus import GpuOptions

_GPU_FIELDS = GpuOptions.model_fields


def default_root() -> Path:
    """Where the service keeps everything, unless told otherwise: XDG's place for a user's data."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hamfit"


class Settings(BaseSettings):
    """All that can be set about a service. Every field has a default; none is needed on loopback."""

    model_config = SettingsConfigDict(env_prefix="HAMFIT_", extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8741, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    root: Path = Field(
        default_factory=default_root, description="Folder for jobs, models and the database of this service."
    )
    data_roots: tuple[Path, ...] = Field(
        default_factory=lambda: (Path.cwd(),),
        description="Folders that jobs may read; by default the folder where the service was started.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://... ; by default SQLite in the root."
    )
    auth: Literal["auto", "required"] = Field(
        default="auto",
        description="required asks for a token always; auto off loopback, with allowed_hosts, or once there was one.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names by which clients may call this service, besides its address and localhost."
    )
    cluster: str = Field(
        default="local",
        description="local (worker processes of this service), local-cuda (one for each GPU), or the address of a"
        " running Dask scheduler.",
    )
    workers: int | None = Field(
        default=None, ge=1, description="Worker processes of a local cluster; by default one for four cores."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of each worker; by default all cores are used."
    )
    gpu_pool: float = Field(default=0.8, ge=0.0, le=0.95, description=_GPU_FIELDS["gpu_pool"].description)
    gpu_ucx: bool = Field(default=False, description=_GPU_FIELDS["gpu_ucx"].description)
    tls_ca: Path | None = Field(default=None, description="Certificate authority of the Dask cluster.")
    tls_cert: Path | None = Field(default=None, description="Certificate of this service for the Dask cluster.")
    tls_key: Path | None = Field(default=None, description="Key of that certificate.")
    running_jobs: int = Field(default=2, ge=1, description="Jobs that run at one time.")
    running_jobs_per_owner: int = Field(default=2, ge=1, description="Jobs of one owner that run at one time.")
    queued_jobs_per_owner: int = Field(default=200, ge=1, description="Jobs of one owner that may wait or run.")
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="Attempts in a row at a job that gains less than a percent between them, where the failures are the"
        " system's and not its user's.",
    )
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest request.")
    requests_per_second: float = Field(
        default=200.0, gt=0.0, description="Requests of one token or address, on average."
    )
    min_free_bytes: int = Field(
        default=256 * 2**20, ge=0, description="Jobs wait while the disk of the root has less than this."
    )
    stop_grace_seconds: float = Field(
        default=8.0, gt=0.0, description="Time for a running job to keep what it has done when it is told to stop."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the service's own log.")

    @field_validator("data_roots", mode="after")
    @classmethod
    def _roots_are_absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.absolute() for path in value)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.tls_ca, self.tls_cert, self.tls_key]
        if any(given) and not all(given):
            raise ValueError("tls_ca, tls_cert and tls_key belong together; give all three or none")
        return self

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
        """Settings from a TOML file and the environment; ``overrides`` that are not None win over both.

        Raises:
            SpecError: a name is unknown or a value not allowed, with the field's name.

        """
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        from_file = read_toml(path) if path is not None else {}
        names = [name for name in from_file if name not in cls.model_fields]
        if names:
            raise SpecError(f"{path}: '{names[0]}' is not a setting; use one of {', '.join(cls.model_fields)}")
        in_environment = {name for name in cls.model_fields if f"HAMFIT_{name.upper()}" in os.environ}
        values = {name: value for name, value in from_file.items() if name not in in_environment}
        try:
            return cls(**{**values, **given})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "settings"
            raise SpecError(f"setting '{field}': {first['msg'].removeprefix('Value error, ')}") from error

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def database(self) -> str:
        """URL of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.root.absolute() / 'hamfit.sqlite'}"

    @property
    def local_workers(self) -> tuple[int, int]:
        """Worker processes of a local cluster, and threads of each."""
        workers = self.workers or max(1, available_cores() // 4)
        return workers, self.threads or max(1, available_cores() // workers)
