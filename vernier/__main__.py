"""`python -m vernier` is `vernier`."""

from vernier.cli import main

if __name__ == "__main__":
    main()
