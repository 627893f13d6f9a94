"""The MegaFace protocol as a reader would write it: loops over every pair, float64."""
import numpy as np


def score(left, right):
    """-|x - y|^2 / 2 of two vectors."""
    difference = np.asarray(left, np.float64) - np.asarray(right, np.float64)
    return -0.5 * np.sum(difference * difference)


def normalised(rows):
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


def trials(probes, ids, distractors):
    """(query, mate, rank) of every ordered pair of one person: distractors strictly above the mate."""
    found = []
    for query in range(len(probes)):
        scores = [score(probes[query], distractor) for distractor in distractors]
        for mate in range(len(probes)):
            if mate != query and ids[mate] == ids[query]:
                own = score(probes[query], probes[mate])
                found.append((query, mate, sum(1 for other in scores if other > own)))
    return found


def pairs(probes, ids, distractors, impostor_probes=None):
    """Scores of all genuine pairs, and of all impostor pairs descending."""
    genuine = [score(probes[i], probes[j]) for i in range(len(probes)) for j in range(i) if ids[i] == ids[j]]
    impostors = sorted((score(probe, distractor) for probe in probes[:impostor_probes] for distractor in distractors),
                       reverse=True)
    return genuine, impostors


def tar(genuine, impostors, far):
    """TAR after floor(far x impostors) false accepts, genuine pairs first on ties."""
    allowed = int(far * len(impostors) + 1e-9)
    if allowed >= len(impostors):
        return 1.0
    return np.mean([own >= impostors[allowed] for own in genuine])
