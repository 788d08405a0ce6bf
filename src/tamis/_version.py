"""The release, read by packaging and written into every version on disk."""

__version__ = "0.1.0"
