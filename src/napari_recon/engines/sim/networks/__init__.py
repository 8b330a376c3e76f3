"""Networks that turn raw frames into an image: architectures, checkpoints, preprocessing, tiled inference."""
