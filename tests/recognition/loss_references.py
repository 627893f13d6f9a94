"""Every loss family once more: float64 NumPy, written from the formulas with loops, to judge the graphs by.

A reference takes (values, settings, fixed) and returns {role: value}. `fixed` are the values before a perturbation:
what a loss treats as constant (masks, running means, choices of triplets) is computed from them.
"""
import math

from tests.recognition.loss_lab import log_softmax, unit

import numpy as np

REFERENCES = {}


def reference(name):
    def add(function):
        REFERENCES[name] = function
        return function
    return add


def angle(a, b):
    return math.acos(max(-1.0, min(1.0, a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))))


def target_curve(theta, settings):
    m1, m2, m3 = settings.loss_m1, settings.loss_m2, settings.loss_m3
    if m1 * theta + m2 <= math.pi:
        return math.cos(m1 * theta + m2) - m3
    left = math.pi - (math.pi - m2) / m1
    return math.cos(theta) - left * math.sin(left) - m3


def labels_of(values):
    return values["softmax_label"].astype(int)


def cosines(values):
    return unit(values["embedding"]) @ unit(values["fc7_weight"]).T


def mean_entropy(logits, labels):
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean()


def margin_logits(cosine, labels, settings):
    logits = settings.loss_s * cosine
    for i, y in enumerate(labels):
        logits[i, y] = settings.loss_s * target_curve(math.acos(np.clip(cosine[i, y], -1, 1)), settings)
    return logits


def margin_entropy(values, settings):
    return mean_entropy(margin_logits(cosines(values), labels_of(values), settings), labels_of(values))


def softmax_entropy(values):
    logits = values["embedding"] @ values["fc7_weight"].T + values["fc7_bias"]
    return mean_entropy(logits, labels_of(values))


@reference("softmax")
def softmax(values, settings, fixed):
    return {"loss": softmax_entropy(values)}


@reference("margin_softmax")
def margin_softmax(values, settings, fixed):
    return {"loss": margin_entropy(values, settings)}


@reference("intra_inter")
def intra_inter(values, settings, fixed):
    labels, x, w = labels_of(values), values["embedding"], values["fc7_weight"]
    roles = {"loss": margin_entropy(values, settings)}
    if settings.options.intra:
        angles = [angle(x[i], w[y]) for i, y in enumerate(labels)]
        roles["objective:intra"] = settings.options.intra * np.mean(angles) / math.pi
    if settings.options.inter:
        total = sum(angle(w[y], w[j]) for y in labels for j in range(len(w)) if j != y)
        roles["objective:inter"] = -settings.options.inter * total / (math.pi * len(labels) * (len(w) - 1))
    return roles


def thirds_hinge(values, alpha, distance):
    x = unit(values["embedding"])
    part = len(x) // 3
    return np.mean([max(0.0, distance(x[i], x[i + part]) - distance(x[i], x[i + 2 * part]) + alpha)
                    for i in range(part)])


def squared(a, b):
    return ((a - b) ** 2).sum()


def mined_hinge(values, fixed, alpha, distance):
    """All anchor-positive pairs, each against the nearest negative that is farther, else the farthest negative."""
    labels = labels_of(values)
    then, now = unit(fixed["embedding"]), unit(values["embedding"])
    hinges = []
    for a in range(len(labels)):
        for p in range(len(labels)):
            if a == p or labels[a] != labels[p]:
                continue
            negatives = [n for n in range(len(labels)) if labels[n] != labels[a]]
            farther = [n for n in negatives if distance(then[a], then[n]) > distance(then[a], then[p])]
            if farther:
                chosen = min(farther, key=lambda n: distance(then[a], then[n]))
            else:
                chosen = max(negatives, key=lambda n: distance(then[a], then[n]))
            hinges.append(max(0.0, distance(now[a], now[p]) - distance(now[a], now[chosen]) + alpha))
    return np.mean(hinges)


def triplets(values, settings, fixed, distance):
    if settings.triplet_bag_size:
        return thirds_hinge(values, settings.triplet_alpha, distance)
    return mined_hinge(values, fixed, settings.triplet_alpha, distance)


@reference("triplet")
def triplet(values, settings, fixed):
    return {"loss": triplets(values, settings, fixed, squared)}


@reference("atriplet")
def atriplet(values, settings, fixed):
    return {"loss": triplets(values, settings, fixed, angle)}


@reference("margin_triplet")
def margin_triplet(values, settings, fixed):
    distance = angle if settings.options.angular else squared
    return {"loss": margin_entropy(values, settings), "objective:triplet": triplets(values, settings, fixed, distance)}


@reference("subcentre")
def subcentre(values, settings, fixed):
    count = settings.loss_K
    every = cosines(values)
    classes = every.shape[1] // count
    nearest = np.array([[max(row[j * count:(j + 1) * count]) for j in range(classes)] for row in every])
    return {"loss": mean_entropy(margin_logits(nearest, labels_of(values), settings), labels_of(values))}


@reference("subcentre_softmax")
def subcentre_softmax(values, settings, fixed):
    count, every = settings.loss_K, cosines(values)
    pooled = np.zeros((len(every), every.shape[1] // count))
    for i, j in np.ndindex(*pooled.shape):
        mine = every[i, j * count:(j + 1) * count]
        weights = np.exp(mine / settings.options.gamma)
        pooled[i, j] = (weights * mine).sum() / weights.sum()
    return {"loss": mean_entropy(margin_logits(pooled, labels_of(values), settings), labels_of(values))}


@reference("subcentre_compact")
def subcentre_compact(values, settings, fixed):
    count, centres = settings.loss_K, unit(values["fc7_weight"])
    classes, apart = len(centres) // count, 0.0
    for j in range(classes):
        mine = centres[j * count:(j + 1) * count]
        apart += sum(math.sqrt(2 - 2 * mine[s] @ mine[t]) for t in range(count) for s in range(t))
    return {**subcentre(values, settings, fixed),
            "objective:compactness": settings.options.tau * apart / (classes * count * (count - 1))}


@reference("noise_resistance")
def noise_resistance(values, settings, fixed):
    labels, share = labels_of(values), settings.options.label
    logs, before = (log_softmax(margin_logits(cosines(given), labels, settings)) for given in (values, fixed))
    mixed = [-share * row[y] - (1 - share) * row[then.argmax()] for row, then, y in zip(logs, before, labels)]
    loss = mean_entropy(margin_logits(cosines(values), labels, settings), labels)
    return {"loss": loss, "objective:choice": np.mean(mixed) - loss}


@reference("centre")
def centre(values, settings, fixed):
    labels, x, centres = labels_of(values), values["embedding"], values["identity_centres"]
    term = settings.options.weight / 2 * np.mean([squared(x[i], centres[y]) for i, y in enumerate(labels)])
    following = centres.copy()
    for j in range(len(centres)):
        mine = [i for i, y in enumerate(labels) if y == j]
        delta = sum((centres[j] - x[i] for i in mine), np.zeros(x.shape[1])) / (1 + len(mine))
        following[j] = centres[j] - settings.options.alpha * delta
    return {"loss": softmax_entropy(values), "objective:centre": term, "state:identity_centres": following}


@reference("sphereface")
def sphereface(values, settings, fixed):
    labels, iteration, m = labels_of(values), values["sphereface_iteration"][0], settings.loss_m1
    weight = max(5.0, 1000.0 / (1 + 0.12 * iteration))
    norms = np.linalg.norm(values["embedding"], axis=1)
    logits = norms[:, None] * cosines(values)
    for i, y in enumerate(labels):
        theta = angle(values["embedding"][i], values["fc7_weight"][y])
        k = min(math.floor(m * theta / math.pi), m - 1)
        psi = (-1) ** k * math.cos(m * theta) - 2 * k
        logits[i, y] = norms[i] * (weight * math.cos(theta) + psi) / (1 + weight)
    result = {"loss": mean_entropy(logits, labels), "state:sphereface_iteration": np.array([iteration + 1])}
    if settings.options.energy:
        centres = unit(values["fc7_weight"])
        near = [1 / np.sum((centres[y] - centres[j]) ** 2) for y in labels for j in range(len(centres)) if j != y]
        result["objective:energy"] = settings.options.energy * np.mean(near)
    return result


@reference("contrastive")
def contrastive(values, settings, fixed):
    labels, rows, margin = labels_of(values), unit(values["embedding"]), settings.options.margin
    terms = []
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i != j:
                distance = np.linalg.norm(rows[i] - rows[j])
                terms.append(distance ** 2 / 2 if labels[i] == labels[j] else max(0.0, margin - distance) ** 2 / 2)
    return {"loss": softmax_entropy(values), "objective:contrastive": settings.options.weight * np.mean(terms)}


@reference("marginal")
def marginal(values, settings, fixed):
    labels, rows, chosen = labels_of(values), unit(values["embedding"]), settings.options
    terms = []
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i != j:
                sign = 1 if labels[i] == labels[j] else -1
                terms.append(max(0.0, chosen.xi - sign * (chosen.theta - squared(rows[i], rows[j]))))
    m = len(rows)
    return {"loss": softmax_entropy(values), "objective:marginal": chosen.weight * sum(terms) / (m ** 2 - m)}


@reference("range")
def range_loss(values, settings, fixed):
    labels, rows, chosen = labels_of(values), values["embedding"], settings.options
    images = {y: [row for row, label in zip(rows, labels) if label == y] for y in labels}
    intra = 0.0
    for mine in images.values():
        found = sorted(squared(a, b) for place, a in enumerate(mine) for b in mine[place + 1:])[-chosen.count:]
        intra += chosen.count / sum(1 / distance for distance in found)
    centres = [np.mean(mine, axis=0) for mine in images.values()]
    shortest = min(squared(a, b) for place, a in enumerate(centres) for b in centres[place + 1:])
    return {"loss": softmax_entropy(values), "objective:intra": chosen.intra * intra,
            "objective:inter": chosen.inter * max(0.0, chosen.margin - shortest)}


def changed_target(values, settings):
    cosine = cosines(values)
    return [target_curve(math.acos(np.clip(cosine[i, y], -1, 1)), settings) for i, y in enumerate(labels_of(values))]


@reference("mv_softmax")
def mv_softmax(values, settings, fixed):
    labels, cosine, t = labels_of(values), cosines(values), settings.options.emphasis
    before, then = cosines(fixed), changed_target(fixed, settings)
    logits = np.zeros_like(cosine)
    for i, y in enumerate(labels):
        for j in range(cosine.shape[1]):
            value = cosine[i, j]
            if j != y and before[i, j] > then[i]:
                value = value + t if settings.options.fixed else (1 + t) * value + t
            logits[i, j] = settings.loss_s * value
        logits[i, y] = settings.loss_s * changed_target(values, settings)[i]
    return {"loss": mean_entropy(logits, labels)}


@reference("curricular")
def curricular(values, settings, fixed):
    labels, cosine = labels_of(values), cosines(values)
    before, then = cosines(fixed), changed_target(fixed, settings)
    t = 0.99 * fixed["curricular_t"][0] + 0.01 * np.mean([before[i, y] for i, y in enumerate(labels)])
    logits = settings.loss_s * cosine
    for i, y in enumerate(labels):
        for j in range(cosine.shape[1]):
            if j != y and before[i, j] > then[i]:
                logits[i, j] = settings.loss_s * cosine[i, j] * (t + cosine[i, j])
        logits[i, y] = settings.loss_s * changed_target(values, settings)[i]
    return {"loss": mean_entropy(logits, labels), "state:curricular_t": np.array([t])}


@reference("adacos")
def adacos(values, settings, fixed):
    labels, cosine, before = labels_of(values), cosines(values), cosines(fixed)
    classes = cosine.shape[1]
    if not settings.options.dynamic:
        return {"loss": mean_entropy(math.sqrt(2) * math.log(classes - 1) * cosine, labels)}
    old = fixed["adacos_scale"][0]
    average = np.mean([sum(math.exp(old * before[i, j]) for j in range(classes) if j != y)
                       for i, y in enumerate(labels)])
    median = np.median([math.acos(before[i, y]) for i, y in enumerate(labels)])
    scale = max(1.0, math.log(average) / math.cos(min(math.pi / 4, median)))
    return {"loss": mean_entropy(scale * cosine, labels), "state:adacos_scale": np.array([scale])}


@reference("magface")
def magface(values, settings, fixed):
    labels, cosine = labels_of(values), cosines(values)
    lengths = np.clip(np.linalg.norm(values["embedding"], axis=1), 10, 110)
    logits = settings.loss_s * cosine
    for i, y in enumerate(labels):
        margin = 0.45 + 0.35 * (lengths[i] - 10) / 100
        theta = math.acos(cosine[i, y])
        moved = math.cos(theta + margin) if theta + margin <= math.pi else cosine[i, y] - margin * math.sin(margin)
        logits[i, y] = settings.loss_s * moved
    return {"loss": mean_entropy(logits, labels),
            "objective:length": 35 * np.mean([a / 110 ** 2 + 1 / a for a in lengths])}


@reference("adaface")
def adaface(values, settings, fixed):
    labels, cosine = labels_of(values), cosines(values)
    lengths = np.clip(np.linalg.norm(fixed["embedding"], axis=1), 0.001, 100)
    mean = 0.99 * fixed["adaface_mean"][0] + 0.01 * lengths.mean()
    spread = 0.99 * fixed["adaface_deviation"][0] + 0.01 * lengths.std(ddof=1)
    logits = settings.loss_s * cosine
    for i, y in enumerate(labels):
        z = np.clip((lengths[i] - mean) / (spread + 1e-3) * 0.333, -1, 1)
        theta = np.clip(math.acos(cosine[i, y]) - 0.4 * z, 1e-3, math.pi - 1e-3)
        logits[i, y] = settings.loss_s * (math.cos(theta) - (0.4 + 0.4 * z))
    return {"loss": mean_entropy(logits, labels), "state:adaface_mean": np.array([mean]),
            "state:adaface_deviation": np.array([spread])}


@reference("dominant")
def dominant(values, settings, fixed):
    labels, cosine = labels_of(values), cosines(values)
    queues = values["dominant_identities"].astype(int)
    chosen = sorted(set(labels) | {k for y in labels for k in queues[y]})
    places = [chosen.index(y) for y in labels]
    logits = margin_logits(cosine, labels, settings)[:, chosen]
    between = unit(values["fc7_weight"]) @ unit(values["fc7_weight"]).T
    following = queues.astype(float)
    for y in set(labels):
        others = sorted((k for k in chosen if k != y), key=lambda k: -between[y, k])
        following[y] = others[:queues.shape[1]]
    return {"loss": mean_entropy(logits, np.array(places)), "state:dominant_identities": following}


@reference("age")
def age(values, settings, fixed):
    years = values["age_label"]
    known = [i for i in range(len(years)) if years[i] >= 0]
    lengths = np.linalg.norm(values["embedding"], axis=1)
    squares = [(values["age_slope"][0] * lengths[i] + values["age_bias"][0] - years[i]) ** 2 for i in known]
    term = settings.options.weight / 2 * (np.mean(squares) if known else 0.0)
    return {"loss": margin_entropy(values, settings), "objective:age": term}


@reference("quality")
def quality(values, settings, fixed):
    x, count = unit(values["embedding"]), settings.images_per_identity
    raw = values["embedding"] @ values["quality_fc_weight"].T + values["quality_fc_bias"]
    weights = 1 / (1 + np.exp(-raw[:, 0]))
    half = count // 2

    def feature(start):
        rows = range(start, start + half)
        return sum(weights[i] * x[i] for i in rows) / sum(weights[i] for i in rows)

    starts = range(0, len(x), count)
    anchors, positives = [feature(s) for s in starts], [feature(s + half) for s in starts]
    hinges = [max(0.0, squared(anchors[k], positives[k]) - squared(anchors[k], anchors[(k + 1) % len(anchors)]) + 0.3)
              for k in range(len(anchors))]
    return {"loss": softmax_entropy(values), "objective:sets": np.mean(hinges), "quality": weights[:, None]}
