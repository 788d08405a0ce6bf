"""The scoring engine: ranks one request's candidates with ONNX Runtime.

The user's part of the network is computed once per request and the rest once per candidate. PyTorch
is the reference: a ranker loaded from a version scores requests with the engine if the version
holds one; everything else (rows of many users, a model that was just fitted) runs in PyTorch.
"""

from tamis.rank._engine.engine import Engine
from tamis.rank._engine.export import discard, export, unsupported
from tamis.rank._engine.gather import Gather
from tamis.rank._engine.network import RequestNetwork
from tamis.rank._engine.request_fields import RequestFields
from tamis.rank._engine.session import FOLDER

__all__ = [
    "FOLDER",
    "Engine",
    "Gather",
    "RequestFields",
    "RequestNetwork",
    "discard",
    "export",
    "unsupported",
]
