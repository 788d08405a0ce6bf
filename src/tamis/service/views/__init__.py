"""What changes while a version serves: users, items, histories, counters and shown items.

Each view is a function of the version and of the journal's entries that were applied, and of
nothing else; reading never changes one.
"""

from tamis.service.views.views import Views

__all__ = ["Views"]
