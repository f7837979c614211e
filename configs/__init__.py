"""One YAML file per model; each says only what differs from the defaults in sipvideo.config."""
