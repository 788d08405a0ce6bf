"""Torch-RecHub's side: torch's top-k of masked products, and its `topk_metrics`.

    run_rechub.py VECTORS.npz REPEATS THREADS

The library has no full ranking of its own; this is the loop that its metrics ask for: 256 users at
a time, products into one buffer, seen items masked, `torch.topk`, then dicts of lists.
"""

import json
import sys
import time

import numpy as np
import torch
from torch_rechub.basic.metric import topk_metrics

USERS, TOP = 256, 20


def main():
    data = np.load(sys.argv[1])
    repeats, threads = int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        lists = best(data)
        asked = range(len(lists))
        bounds, values = data["target_indptr"], data["target_values"]
        wanted = {u: values[bounds[u] : bounds[u + 1]].tolist() for u in asked}
        found = topk_metrics(wanted, {u: lists[u].tolist() for u in asked}, [TOP])
        seconds.append(time.perf_counter() - began)
    result = {
        "seconds": seconds,
        "recall@20": float(found["Recall"][0].split()[-1]),
        "ndcg@20": float(found["NDCG"][0].split()[-1]),
        "peak_mb": peak_mb(),
    }
    print("RESULT " + json.dumps(result), flush=True)


def best(data):
    users = torch.from_numpy(data["users"])
    items = torch.from_numpy(data["items"]).T.contiguous()
    bounds, seen = data["seen_indptr"], torch.from_numpy(data["seen_values"].astype(np.int64))
    lists = np.empty((len(users), TOP), np.int64)
    buffer = torch.empty(USERS, items.shape[1])
    for begin in range(0, len(users), USERS):
        end = min(begin + USERS, len(users))
        scores = torch.mm(users[begin:end], items, out=buffer[: end - begin])
        rows = np.repeat(np.arange(end - begin), np.diff(bounds[begin : end + 1]))
        scores[torch.from_numpy(rows), seen[bounds[begin] : bounds[end]]] = -1e9
        lists[begin:end] = scores.topk(TOP, 1)[1].numpy()
    return lists


def peak_mb():
    """Peak resident memory of this process alone, MB."""
    with open("/proc/self/status") as status:
        return next(int(x.split()[1]) / 1024 for x in status if x.startswith("VmHWM"))


if __name__ == "__main__":
    main()
