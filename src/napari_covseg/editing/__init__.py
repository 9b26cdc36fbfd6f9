"""Corrections of label maps, as geometry on arrays: what to paint, grow, copy, smooth, count."""
