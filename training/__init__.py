"""From labelled folders to a calibrated, self-describing model archive."""
