"""`python -m local_stack`."""

from .cli import main

if __name__ == "__main__":
    main()
