"""From a version on disk to a recommender: stage registry, assembly, requests and answers."""

from tamis.service.assembly import STORED_CONFIG, Parts
from tamis.service.project import CONFIG, ProjectFolder
from tamis.service.recommender import Answer, Place, Reason, Recommender, WhyNot

__all__ = [
    "CONFIG",
    "STORED_CONFIG",
    "Answer",
    "Parts",
    "Place",
    "ProjectFolder",
    "Reason",
    "Recommender",
    "WhyNot",
]
