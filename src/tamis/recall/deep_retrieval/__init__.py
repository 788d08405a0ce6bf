"""Deep Retrieval: items on the paths of a learned tree."""

from tamis.recall.deep_retrieval.deep_retrieval import DeepRetrieval, DeepRetrievalConfig

__all__ = ["DeepRetrieval", "DeepRetrievalConfig"]
