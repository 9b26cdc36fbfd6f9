"""Networks, their files on disk and the device they run on."""
