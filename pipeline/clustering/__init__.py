"""Match probabilities of pairs in, a partition of the items out; or vectors in, by k-means."""

from pipeline.clustering.constraints import ConstraintConflictError, Constraints, must_groups
from pipeline.clustering.kmeans import cluster_vectors
from pipeline.clustering.partition import Clusters, cluster, within_reach
from pipeline.clustering.settings import CLUSTERERS, KMEANS, ClusteringSettings
from pipeline.clustering.siblings import mates, set_siblings_apart

__all__ = [
    "CLUSTERERS",
    "KMEANS",
    "ClusteringSettings",
    "Clusters",
    "ConstraintConflictError",
    "Constraints",
    "cluster",
    "cluster_vectors",
    "mates",
    "must_groups",
    "set_siblings_apart",
    "within_reach",
]
