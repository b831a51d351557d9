"""Where weights come from: the hub, the package index, a folder; and the disk that they land on."""
