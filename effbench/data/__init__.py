"""Panoptic data: COCO and Cityscapes readers, the embedded procedural set, augmentation, batches, image-size facts."""
