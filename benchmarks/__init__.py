"""Speed as ratios against named peers, both sides interleaved in one run."""
