"""What is held fixed while encoders change: backbones, the mask decoder, the segmenter, post-processing."""
