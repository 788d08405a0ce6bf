"""The command line."""

from tamis.cli.app import app, main

__all__ = [
    "app",
    "main",
]
