"""The routes of the service, one module per group; each handler is a Litestar route."""

from tamis.serve.routes.events import events
from tamis.serve.routes.health import live, ready
from tamis.serve.routes.items import hide, show
from tamis.serve.routes.lookalike import lookalike
from tamis.serve.routes.rank import rank
from tamis.serve.routes.recommend import recommend
from tamis.serve.routes.recommendations import recommendation
from tamis.serve.routes.similar import similar

ROUTES = [recommend, rank, similar, lookalike, events, hide, show, recommendation, live, ready]
"""All of them, in the order of the OpenAPI document."""

__all__ = ["ROUTES"]
