"""From a version on disk to a recommender: stage registry, assembly, requests and answers."""

from tamis.service.answer import Answer, Place, Reason, WhyNot
from tamis.service.assembly import FORMATS, STORED_CONFIG, Parts
from tamis.service.clock import Clock
from tamis.service.project import CONFIG, ProjectFolder
from tamis.service.recommender import Recommender
from tamis.service.request import Request

__all__ = [
    "CONFIG",
    "FORMATS",
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
