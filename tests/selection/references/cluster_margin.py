import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from references import smallest

SAME_PICKS = True


def select(view, budget, config, rng):
    unlabelled = view.unlabelled
    cluster = dict(zip(unlabelled, clusters(view.features[unlabelled], config.cluster_size), strict=True))
    ordered = np.sort(view.probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    candidates = np.sort(smallest(view, margins, config.candidates * budget))
    members = {}
    for i in candidates:
        members.setdefault(cluster[i], []).append(i)
    ascending = sorted(members.values(), key=lambda queue: (len(queue), queue[0]))
    shuffled = rng.permutation(candidates).tolist()
    queues = [sorted(queue, key=shuffled.index) for queue in ascending]
    picks = []
    while len(picks) < budget:
        for queue in queues:
            if queue:
                picks.append(queue.pop(0))
    return np.array(picks[:budget])


def clusters(x, size):
    """Average linkage, merged up to the height of the last merge that still leaves n/size clusters."""
    if len(x) == 1:
        return np.ones(1)
    tree = linkage(pdist(x).astype(np.float32), "average")
    merges = len(x) - int(np.ceil(len(x) / size))
    return fcluster(tree, np.sort(tree[:, 2])[merges - 1] if merges else -1, "distance")
