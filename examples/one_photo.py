"""The labels of one photo, or why there are none.

python examples/one_photo.py dog.jpg      (a path or an http(s) URL; the API by WHIPPET_URL or a running local stack)
"""

import sys

from client import Client, ClientError


def main(photo: str) -> None:
    """Print label and score, the best first."""
    with Client(top_k=3) as client:
        outcome = client.classify(photo)
    for prediction in outcome.predictions:
        print(f"{prediction.score:.2f}  {prediction.label}")
    if outcome.decision != "confident":
        print(f"the model is not certain: {outcome.decision}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ClientError as error:  # its text is the fact and what to do about it
        sys.exit(f"error: {error}")
