"""Numbers from label maps: volumes and percentages by side and class."""
