"""`tamis init` and `tamis doctor`: propose a `tamis.toml`, report problems of the data."""

from tamis.onboarding.doctor import Finding, examine
from tamis.onboarding.table_guess import Ask, Guess, guess_config, write_guess

__all__ = [
    "Ask",
    "Finding",
    "Guess",
    "examine",
    "guess_config",
    "write_guess",
]
