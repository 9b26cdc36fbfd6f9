"""What every room speaks: geometry, volumes, labels, progress and errors."""
