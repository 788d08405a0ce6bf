"""Which arm a unit is in: by hashes, so that every process agrees and nothing is stored per user.

    bucket = hash(unit, salt of the layer) mod 10,000

Layers have salts of their own and are therefore independent. Experiments of one layer hold disjoint
buckets. Within an experiment the arm is chosen by rendezvous hashing with weights (Thaler and
Ravishankar 1998): each arm draws a number from hash(unit, experiment, arm), the best one wins. The
choice depends neither on the order of the arms nor on the traffic, and a new arm takes users from
the others without moving anybody between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import log

from tamis.schema import ConfigError

BUCKETS = 10_000
"""Of a layer: shares are multiples of 0.01 %."""


def draw(*parts: str) -> float:
    """A uniform number in (0, 1) of the texts, equal in every process and on every machine."""
    digest = blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def bucket(unit: str, layer: str) -> int:
    """The unit's bucket in a layer, 0 … 9,999."""
    return min(int(draw("layer", layer, unit) * BUCKETS), BUCKETS - 1)


@dataclass(frozen=True)
class Allocation:
    """The buckets of a layer that experiments hold, and those of its holdout."""

    layer: str
    holdout: int = 0
    """The first buckets, which no experiment may hold."""
    held: Mapping[str, tuple[range, ...]] | None = None
    """Experiment → its buckets."""

    def __post_init__(self) -> None:
        if not 0 <= self.holdout <= BUCKETS:
            raise ConfigError(f"holdout = {self.holdout} buckets: give 0 to {BUCKETS:,}")

    def free(self) -> list[range]:
        """The buckets that nobody holds, ascending."""
        taken = sorted((r for ranges in (self.held or {}).values() for r in ranges), key=_start)
        found: list[range] = []
        at = self.holdout
        for block in taken:
            if block.start > at:
                found.append(range(at, block.start))
            at = max(at, block.stop)
        if at < BUCKETS:
            found.append(range(at, BUCKETS))
        return found

    def resized(self, experiment: str, share: float) -> Allocation:
        """With the experiment's traffic set to `share` of all units.

        A growing experiment keeps its buckets and takes free ones; a shrinking one gives back the
        buckets that it took last. Raises ConfigError where the layer has too few free buckets.
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"traffic = {share}: give a share from 0 to 1")
        wanted = round(share * BUCKETS)
        kept = _first((self.held or {}).get(experiment, ()), wanted)
        missing = wanted - _size(kept)
        free = self.free()
        if missing > _size(free):
            raise ConfigError(
                f"traffic = {share:.2%} of layer {self.layer!r} for {experiment!r}: only "
                f"{(_size(free) + _size(kept)) / BUCKETS:.2%} is free; lower the traffic, or end "
                "an experiment of the layer"
            )
        held = {**(self.held or {}), experiment: (*kept, *_first(free, missing))}
        if not wanted:
            del held[experiment]
        return replace(self, held=held)

    def experiment(self, unit: str) -> str | None:
        """The experiment of the layer that a unit takes part in, or None."""
        place = bucket(unit, self.layer)
        for name, ranges in (self.held or {}).items():
            if any(place in block for block in ranges):
                return name
        return None


def arm_of(unit: str, experiment: str, weights: Mapping[str, float]) -> str:
    """The arm of a unit that takes part in an experiment.

    weights: arm → its weight, positive; shares are proportional to them. Raises ConfigError
    without arms or for a weight that is not positive.
    """
    if not weights:
        raise ConfigError(f"experiment {experiment!r} has no arms: declare at least two")
    for arm, weight in weights.items():
        if not weight > 0:
            raise ConfigError(
                f"arm {arm!r} of {experiment!r} has weight {weight}: give one above 0"
            )

    def score(arm: str) -> tuple[float, str]:
        return -weights[arm] / log(draw("arm", experiment, arm, unit)), arm

    return max(weights, key=score)


def _start(block: range) -> int:
    return block.start


def _size(ranges: Iterable[range]) -> int:
    return sum(len(block) for block in ranges)


def _first(ranges: Sequence[range], count: int) -> tuple[range, ...]:
    """The first `count` buckets of the ranges, in their order."""
    found: list[range] = []
    for block in ranges:
        take = min(len(block), count - _size(found))
        if take > 0:
            found.append(block[:take])
    return tuple(found)
