"""Options of the HTTP service."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ServeConfig(BaseModel):
    """Options of `tamis serve`, which reads them from `tamis.toml` when it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: str = ""
    """File of the API keys, relative to the project's folder; `tamis keys` adds one. Empty: the
    variable TAMIS_KEYS holds the same lines; without it no key is needed, and only this machine is
    served."""
    queue: Annotated[int, Field(ge=4, le=10_000)] = 64
    """Requests that may wait for a process. From a quarter on, answers are made of half of the
    candidates, from a half on of a quarter; more requests get status 503."""
    hosts: tuple[str, ...] = ()
    """Names under which clients may call the service (the header `host`, without its port), such as
    ["recommend.example.org", "*.shop.example"]; ["*"]: every name. If empty: every name where there
    are API keys; without keys those of this machine, so that no web page can call the service by a
    name of its own that leads here."""
    log_user_ids: bool = False
    """Whether the lines of the log name users."""
