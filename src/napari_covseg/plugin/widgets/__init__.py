"""Dock widgets, and the parts and dialogs they are made of."""
