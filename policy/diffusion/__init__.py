"""Diffusion over action chunks: paths, objectives, the denoiser and samplers."""
