"""Figures behind every claim of speed: each module is a command that compares with a baseline in one run."""
