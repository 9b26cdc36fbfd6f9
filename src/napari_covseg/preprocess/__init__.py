"""What is done to a CT before a network sees it."""
