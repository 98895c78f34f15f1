"""Model archives and their serving: `model.tar.gz` -> predictions."""
