"""Content channel: nearest items by their attributes, words and content vectors."""

from tamis.recall.content.content import Content, ContentConfig

__all__ = ["Content", "ContentConfig"]
