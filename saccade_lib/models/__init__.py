"""One file a model family, each readable top to bottom in its paper's order."""
