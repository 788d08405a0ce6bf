"""Scoring at request time: ONNX Runtime on the user's side once and the candidates' n times.

PyTorch stays the reference: a ranker opened from a version scores requests by the engine where its
version has one, and everything else (rows of many users, a model just fitted) by its module.
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
