"""The routes of the service, one module per group; each handler is a Litestar route."""

from tamis.serve.access import OPEN
from tamis.serve.examples import operation
from tamis.serve.routes.common import NO_KEY, NO_SCOPE
from tamis.serve.routes.events import events
from tamis.serve.routes.experiments import (
    close_experiment,
    experiments,
    plan_of_experiment,
    ramp_experiment,
    read_experiment,
    report_of_experiment,
    roll_out_experiment,
    start_experiment,
)
from tamis.serve.routes.health import live, ready
from tamis.serve.routes.items import (
    delete_item,
    hide,
    patch_item,
    patch_items,
    put_item,
    put_items,
    read_item,
    show,
)
from tamis.serve.routes.lookalike import lookalike
from tamis.serve.routes.metrics import metrics
from tamis.serve.routes.rank import rank
from tamis.serve.routes.recommend import recommend
from tamis.serve.routes.recommendations import recommendation, why_not
from tamis.serve.routes.similar import similar
from tamis.serve.routes.users import (
    delete_user,
    patch_user,
    patch_users,
    put_user,
    put_users,
    read_user,
)
from tamis.serve.routes.versions import activate, rollback, versions

ITEMS = [put_item, patch_item, read_item, delete_item, put_items, patch_items, hide, show]
USERS = [put_user, patch_user, read_user, delete_user, put_users, patch_users]
ANSWERS = [recommendation, why_not]
HEALTH = [live, ready, metrics]
VERSIONS = [versions, activate, rollback]
EXPERIMENTS = [
    experiments,
    plan_of_experiment,
    read_experiment,
    start_experiment,
    report_of_experiment,
    ramp_experiment,
    roll_out_experiment,
    close_experiment,
]
ROUTES = [
    *(recommend, rank, similar, lookalike, events),
    *ITEMS,
    *USERS,
    *ANSWERS,
    *VERSIONS,
    *EXPERIMENTS,
    *HEALTH,
]
"""All of them, in the order of the OpenAPI document."""
for _route in ROUTES:
    for _method in _route.http_methods:
        for _path in _route.paths:
            _route.operation_class = operation(f"{_method} {_path.replace(':str', '')}")
    if not all(path.startswith(OPEN) for path in _route.paths):
        _route.responses = {401: NO_KEY, 403: NO_SCOPE, **(_route.responses or {})}

__all__ = ["ROUTES"]
