from .answer import Answer, Place, Reason, WhyNot
from .assembly import FORMATS, ORDER, STORED_CONFIG, Parts
from .clock import Clock
from .project_folder import CONFIG, ProjectFolder
from .recommender import Recommender
from .request import Request

__all__ = [
    "CONFIG",
    "FORMATS",
    "ORDER",
    "STORED_CONFIG",
    "Answer",
    "Clock",
    "Parts",
    "Place",
    "ProjectFolder",
    "Reason",
    "Recommender",
    "Request",
    "WhyNot",
]
