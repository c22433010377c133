"""`python -m featcache` does what `featcache` does."""

from featcache.cli import main

if __name__ == "__main__":
    main(prog_name="featcache")
