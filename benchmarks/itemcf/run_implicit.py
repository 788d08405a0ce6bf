"""implicit's cosine neighbours, in its own environment."""

from __future__ import annotations

import os

import numpy as np
import scipy.sparse as sparse
from common import NEIGHBOURS, TOP, arguments, measure, peak_mb
from implicit.nearest_neighbours import CosineRecommender

imported = peak_mb()
threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
user, item, users, items, out, repeats, _ = arguments()
likes = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(users, items))


def fit() -> CosineRecommender:
    model = CosineRecommender(K=NEIGHBOURS, num_threads=threads)
    model.fit(likes, show_progress=False)
    return model


def recommend(model: CosineRecommender) -> np.ndarray:
    everybody = np.arange(users)
    found, score = model.recommend(everybody, likes, N=TOP, filter_already_liked_items=True)
    return np.where(score > 0, found, -1)


measure(imported, peak_mb(), fit, recommend, out, repeats)
