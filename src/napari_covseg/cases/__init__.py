"""The case store: CTs, every version of their labels, who reviewed them, and models' lineage."""
