"""Publishes a new version of a project, and removes old ones that nothing needs."""

from __future__ import annotations

from tamis.bundle import Version, Versions
from tamis.service import ProjectFolder, versions_of_experiments


def publish(project: ProjectFolder, version: Version) -> None:
    """Makes a version the current one of its kind. Older ones than `keep_versions` says are
    removed, but those that running experiments name; none where the journal is out of reach."""
    needed = versions_of_experiments(project.root, project.config)
    keep = None if needed is None else project.config.keep_versions
    Versions(project.root).publish(version, keep, needed or ())
