"""Sequence channels: SASRec and GRU4Rec."""

from tamis.recall.sequence.gru4rec import GRU4Rec, GRU4RecConfig
from tamis.recall.sequence.sasrec import SASRec, SASRecConfig

__all__ = ["GRU4Rec", "GRU4RecConfig", "SASRec", "SASRecConfig"]
