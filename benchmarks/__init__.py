"""Speed and memory, against peers in the same run: ``python -m benchmarks`` (``make bench``)."""
