"""The HTTP service."""

from tamis.serve.app import create_app
from tamis.serve.keys import Keys, add_key
from tamis.serve.run import serve

__all__ = [
    "Keys",
    "add_key",
    "create_app",
    "serve",
]
