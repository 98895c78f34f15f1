"""The whole chain on one machine: endpoint, function and gateway as processes joined by URLs."""
