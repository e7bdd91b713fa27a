import numpy as np

SAME_PICKS = True


def select(view, budget, config, rng):
    k = view.num_classes
    weight, bias = view.weight, view.bias

    def boundary(i, a, b):
        """Distance of example i to where the classes a and b are as likely."""
        apart = np.linalg.norm(weight[a] - weight[b])
        if apart == 0:
            return np.finfo(np.float32).max
        return abs((weight[a] - weight[b]) @ view.features[i] + bias[a] - bias[b]) / apart

    def distance(i, c):
        predicted = int(np.argmax(weight @ view.features[i] + bias))
        if c != predicted:
            return boundary(i, c, predicted)
        return min(boundary(i, c, other) for other in range(k) if other != c)

    picks = []
    for turn, c in enumerate(rng.permutation(k)):
        count = budget // k + (turn < budget % k)
        left = [i for i in view.unlabelled if i not in picks]
        picks += sorted(left, key=lambda i: (np.float32(distance(i, c)), i))[:count]
    return np.array(picks)
