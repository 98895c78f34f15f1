"""Numbers and addresses that the command line shows, apart from what is slow to import."""

from __future__ import annotations

FRACTIONS = (0.15, 0.15)
"""Shares of valid and test where a split is made."""

NEAR_BITS = 48
"""Photos whose perceptual hashes differ in at most so many of 255 bits are nearly the same; see `similar`."""

DOG_IMAGES_URL = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
"""Udacity's photos of 133 dog breeds, 1.1 GB."""

URL_VARIABLE = "WHIPPET_DOGIMAGES_URL"
"""Environment variable that names another address for them."""
