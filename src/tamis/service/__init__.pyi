from .answer import (Answer, Place, Reason, WhyNot)
from .assembly import (FORMATS, Parts, STORED_CONFIG)
from .clock import (Clock)
from .project import (CONFIG, ProjectFolder)
from .recommender import (Recommender)
from .request import (Request)

__all__ = [
    "Answer",
    "CONFIG",
    "Clock",
    "FORMATS",
    "Parts",
    "Place",
    "ProjectFolder",
    "Reason",
    "Recommender",
    "Request",
    "STORED_CONFIG",
    "WhyNot",
]
