"""TF-IDF of character n-grams and average linkage at a fixed cut, with scikit-learn and SciPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from protocol import run
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.feature_extraction.text import TfidfVectorizer

#: Rows whose similarities to all others are held as a dense matrix at a time.
_ROWS = 256


def cluster(strings: Sequence[str], _: Sequence[str], cut: float) -> Iterable[int]:
    """Strings to clusters: average linkage of cosine distances, cut at `cut`.

    Every pair has a distance, 8 bytes each, and the linkage works on a copy: memory is quadratic.
    """
    if len(strings) < 2:
        return range(len(strings))
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit_transform(
        strings
    )
    n, other = len(strings), vectors.T.tocsr()
    distance, done = np.empty(n * (n - 1) // 2), 0
    for start in range(0, n, _ROWS):
        similarity = (vectors[start : start + _ROWS] @ other).toarray()
        for number, row in enumerate(similarity, start):
            distance[done : done + n - 1 - number] = 1 - row[number + 1 :]
            done += n - 1 - number
    np.clip(distance, 0, None, out=distance)
    return fcluster(linkage(distance, "average"), cut, "distance").tolist()


if __name__ == "__main__":
    run(cluster)
