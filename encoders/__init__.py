"""Interchangeable encoders: what stands between a backbone's pyramid and a mask decoder."""
