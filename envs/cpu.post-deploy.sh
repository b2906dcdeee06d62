#!/bin/bash
# Run by Snakemake in the environment that it has made: the package, from the folder of the Snakefile.
set -eu
python -m pip install --quiet --no-deps --editable "$DCAN_SOURCE"
