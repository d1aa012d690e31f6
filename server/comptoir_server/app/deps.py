"""What a use case needs, built once in `main.py` and passed along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from comptoir_server.app.lines import Lines
from comptoir_server.app.ports import Provider
from comptoir_server.app.settled import Settled
from comptoir_server.app.sightings import Sightings
from comptoir_server.runtime import Runtime
from comptoir_server.store.database import Database
from comptoir_server.vault import Vault


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator chose. `public_url` is where people's browsers find our pages, without a trailing slash.

    `worker_name` is unique to this process: leases are held in its name.
    """

    mode: str
    public_url: str
    worker_name: str


@dataclass(frozen=True, slots=True)
class Deps:
    """The server's parts."""

    runtime: Runtime
    store: Database
    vault: Vault
    providers: Mapping[str, Provider]
    settled: Settled
    settings: Settings
    lines: Lines = field(default_factory=Lines)
    sightings: Sightings = field(default_factory=Sightings)
