"""`make bench`: this filter beside floors and peers, measured in turns in one run."""
