"""`tamis init` and `tamis doctor`: look at tables, propose a `tamis.toml`, report problems."""

from tamis.onboarding.doctor import Finding, examine
from tamis.onboarding.table_guess import Guess, guess_config, write_guess

__all__ = [
    "Finding",
    "Guess",
    "examine",
    "guess_config",
    "write_guess",
]
