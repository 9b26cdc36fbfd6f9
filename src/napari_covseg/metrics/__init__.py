"""How well a label map agrees with a reference: numpy only, no files."""
