"""Run the command as `python -m recsys.cli`."""

from recsys.cli import main

if __name__ == "__main__":
    main()
