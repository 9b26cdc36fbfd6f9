"""How well a label map agrees with a reference: numpy and scipy, no files."""
