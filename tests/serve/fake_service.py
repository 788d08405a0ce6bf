"""A recommender of three items, for tests of the HTTP service alone."""

from typing import ClassVar

from tamis.data import one_id
from tamis.schema import RequestError, StageError
from tamis.service import (
    Answer,
    Place,
    RankedItem,
    Ranking,
    RankRequest,
    Reason,
    RemovedItem,
    Request,
    SimilarItem,
    SimilarList,
    WhyNot,
)

REASON = Reason(
    text="like Alien (itemcf #1)",
    channels=({"channel": "itemcf", "rank": 1, "score": 0.5, "because": "Alien"},),
    prerank={"score": 0.1, "place": 1},
    predictions={"like": 0.7},
    value=0.7,
    value_place=1,
    rerank={},
)


class Fake:
    """Answers from a list of three items; keeps the last request."""

    version = "serving-7"
    titles: ClassVar = {"1": "Alien", "2": "Brazil", "3": "Cube"}

    def __init__(self) -> None:
        self.request = Request()

    def recommend(self, request: Request, *, effort: float = 1.0) -> Answer:
        self.request = request
        user, why_not = one_id(request.user_id), request.why_not
        exclude = [str(item) for item in request.exclude_item_ids]
        why_not = None if why_not is None else str(why_not)
        if why_not not in (None, *self.titles):
            raise RequestError(f"item {why_not!r} is not in the items' table: check the id")
        if user == "broken stage":
            raise StageError("rank added candidates")
        if user == "defect":
            raise ZeroDivisionError("secret detail")
        shown = [i for i in self.titles if i not in exclude][: request.n]
        return Answer(
            recommendation_id=request.recommendation_id or "new",
            time=1_700_000_000_000,
            clock="now",
            version=self.version,
            user_id=user,
            known=user == "ann",
            items=tuple(
                Place(i, self.titles[i], place, 1.0 / place, REASON if request.explain else None)
                for place, i in enumerate(shown, start=1)
            ),
            took_ms=1.0,
            degraded=("recall two_tower: ValueError",) if user == "half" else (),
            seconds={"recall:hot": 0.002, "rank": 0.003},
            candidates={("recall", "out"): 50, ("filter", "in"): 50, ("filter", "out"): 40},
            removed={"seen": 10},
            why_not=None
            if why_not is None
            else WhyNot(why_not, self.titles[why_not], "rank_cut", "ranked 9 by value"),
        )

    def rank(self, request: RankRequest) -> Ranking:
        known = [str(i) for i in request.item_ids if str(i) in self.titles]
        return Ranking(
            version=self.version,
            user_id=str(request.user_id),
            known=True,
            time=1_700_000_000_000,
            clock="now",
            items=tuple(
                RankedItem(i, self.titles[i], k, float("-inf"), {"like": 0.5})
                for k, i in enumerate(known[:-1], start=1)
            ),
            removed=(RemovedItem(known[-1], self.titles[known[-1]], ("seen",), ("bought",)),),
            unknown=tuple(str(i) for i in request.item_ids if str(i) not in self.titles),
            took_ms=1.0,
        )

    def similar(self, item_id: object, n: int = 10, by: str | None = None) -> SimilarList:
        items = (SimilarItem("2", "Brazil", 1, 0.5),)
        return SimilarList(self.version, by or "text", str(item_id), "Alien", None, items[:n])
