"""The tables of the papers: what they print, what the same models count here, and what was run."""
