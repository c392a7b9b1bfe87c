"""Match probabilities of pairs in, a partition of the items out."""

from pipeline.clustering.constraints import ConstraintConflictError, Constraints
from pipeline.clustering.partition import CLUSTERERS, ClusteringSettings, Clusters, cluster
from pipeline.clustering.siblings import mates, set_siblings_apart

__all__ = [
    "CLUSTERERS",
    "ClusteringSettings",
    "Clusters",
    "ConstraintConflictError",
    "Constraints",
    "cluster",
    "mates",
    "set_siblings_apart",
]
