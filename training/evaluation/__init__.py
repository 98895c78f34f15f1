"""From logits to metrics, and from metrics to one HTML report."""
