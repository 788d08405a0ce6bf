"""`tamis init` and `tamis doctor`: propose a `tamis.toml`, report problems of the data."""

from tamis.onboarding._findings import Examination, Finding
from tamis.onboarding.doctor import examine
from tamis.onboarding.table_guess import Ask, Guess, guess_config, write_guess

__all__ = [
    "Ask",
    "Examination",
    "Finding",
    "Guess",
    "examine",
    "guess_config",
    "write_guess",
]
