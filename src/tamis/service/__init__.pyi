from .answer import Answer, Place, Reason, WhyNot
from .assembly import FORMATS, ORDER, STORED_CONFIG, Parts
from .clock import Clock, system_clock
from .explanations import Explained, Explanations
from .intake import EventRow, Intake
from .item_texts import ItemTexts
from .journal_data import with_journal
from .live import LiveRecommender, Taken
from .live_rows import Deleted, KnownRow, TakenRow
from .lookalike import LookalikeList, LookalikeSearch, LookalikeUser
from .lookalike_lift import Lift
from .lookalike_request import LookalikeRequest
from .project_folder import CONFIG, ProjectFolder
from .project_versions import ProjectVersions, VersionLine
from .ranking import RankedItem, Ranking, RemovedItem
from .recommender import Answered, Recommender
from .request import Boost, RankRequest, Request
from .serving import Serving
from .similar import Similar, SimilarItem, SimilarList
from .views import Views

__all__ = [
    "CONFIG",
    "FORMATS",
    "ORDER",
    "STORED_CONFIG",
    "Answer",
    "Answered",
    "Boost",
    "Clock",
    "Deleted",
    "EventRow",
    "Explained",
    "Explanations",
    "Intake",
    "ItemTexts",
    "KnownRow",
    "Lift",
    "LiveRecommender",
    "LookalikeList",
    "LookalikeRequest",
    "LookalikeSearch",
    "LookalikeUser",
    "Parts",
    "Place",
    "ProjectFolder",
    "ProjectVersions",
    "RankRequest",
    "RankedItem",
    "Ranking",
    "Reason",
    "Recommender",
    "RemovedItem",
    "Request",
    "Serving",
    "Similar",
    "SimilarItem",
    "SimilarList",
    "Taken",
    "TakenRow",
    "VersionLine",
    "Views",
    "WhyNot",
    "system_clock",
    "with_journal",
]
