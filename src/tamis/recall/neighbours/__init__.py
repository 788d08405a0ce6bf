"""Neighbourhood channels: ItemCF, UserCF and Swing."""

from tamis.recall.neighbours.itemcf import ItemCF, ItemCFConfig
from tamis.recall.neighbours.swing import Swing, SwingConfig
from tamis.recall.neighbours.usercf import UserCF, UserCFConfig

__all__ = ["ItemCF", "ItemCFConfig", "Swing", "SwingConfig", "UserCF", "UserCFConfig"]
