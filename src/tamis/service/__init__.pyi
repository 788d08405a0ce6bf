from .assembly import STORED_CONFIG, Parts
from .project import CONFIG, ProjectFolder
from .recommender import Answer, Place, Reason, Recommender, WhyNot

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
