"""Reports as data, and what is made of them: tables, figures, HTML. No torch, no network."""
