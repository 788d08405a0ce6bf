"""The HTTP service."""

from tamis.serve.app import create_app
from tamis.serve.run import serve

__all__ = [
    "create_app",
    "serve",
]
