"""Labelled folders: layouts, splits, their check and a download of the reference set."""
