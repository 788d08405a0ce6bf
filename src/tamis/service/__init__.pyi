from .answer import Answer, Place, Reason, WhyNot
from .assembly import FORMATS, ORDER, STORED_CONFIG, Parts
from .clock import Clock
from .item_texts import ItemTexts
from .project_folder import CONFIG, ProjectFolder
from .recommender import Recommender
from .request import Request
from .similar import Similar, SimilarItem, SimilarList

__all__ = [
    "CONFIG",
    "FORMATS",
    "ORDER",
    "STORED_CONFIG",
    "Answer",
    "Clock",
    "ItemTexts",
    "Parts",
    "Place",
    "ProjectFolder",
    "Reason",
    "Recommender",
    "Request",
    "Similar",
    "SimilarItem",
    "SimilarList",
    "WhyNot",
]
