"""Other people's pipelines with our network in them, and a whole one, against ours."""
