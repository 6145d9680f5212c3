"""`python -m recap`, for `accelerate launch -m recap train FILE`."""

from recap.cli import main

if __name__ == "__main__":
    main()
