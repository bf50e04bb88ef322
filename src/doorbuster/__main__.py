"""`python -m doorbuster` is `doorbuster`."""

from doorbuster.cli.main import main

if __name__ == "__main__":
    main()
