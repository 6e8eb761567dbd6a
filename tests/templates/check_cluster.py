"""Holds a cluster configuration to ParallelCluster's own schema; prints it as JSON."""

import json
import sys

import yaml
from pcluster.schemas.cluster_schema import ClusterSchema

configuration = yaml.safe_load(sys.stdin)
ClusterSchema(cluster_name="training").load(configuration)
print(json.dumps(configuration))
