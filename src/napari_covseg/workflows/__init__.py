"""One file for each thing a user does; the command line and the plugin are thin over these."""
