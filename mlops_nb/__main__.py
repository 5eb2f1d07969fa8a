"""`python -m mlops_nb` is `mlops`."""

from mlops_nb.cli import main

main()
