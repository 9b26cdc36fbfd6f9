"""Run a network over a CT volume and make a sensible label map of what it says."""
