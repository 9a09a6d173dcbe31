"""Panoptic data: the COCO-layout reader, the embedded procedural set, transforms and image-size facts."""
