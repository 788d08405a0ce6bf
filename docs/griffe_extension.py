"""Lets the reference find `tamis.evaluate`, which is a package and also a function of `tamis`."""

from __future__ import annotations

from typing import Any

import griffe


class PackagesFirst(griffe.Extension):
    """Drops `evaluate = …` of the stub of `tamis`, which would hide the package of that name."""

    def on_members(self, *, obj: Any, **_: Any) -> None:
        if obj.is_module and obj.path == "tamis" and str(obj.filepath).endswith(".pyi"):
            member = obj.members.get("evaluate")
            if member is not None and not member.is_module:
                obj.del_member("evaluate")
