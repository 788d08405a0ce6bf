"""Matrix factorisation: iALS and BPR."""

from tamis.recall.mf.mf import MF, MFConfig

__all__ = ["MF", "MFConfig"]
