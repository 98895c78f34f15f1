"""`python -m lambda_api openapi` prints the API's OpenAPI document, as it is committed under `docs/`."""

import argparse
import os
import sys


def main() -> None:
    """Print the document."""
    parser = argparse.ArgumentParser(prog="python -m lambda_api", description=__doc__)
    parser.add_argument("command", choices=["openapi"], help="print the OpenAPI document")
    parser.parse_args()
    os.environ.setdefault("ENDPOINT_NAME", "whippet")
    from .app import application
    from .openapi import document

    sys.stdout.write(document(application()))


if __name__ == "__main__":
    main()
