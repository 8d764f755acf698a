"""What makes a board a Jetson: JetPack's files and tools, and what stands in for TensorRT and CUDA."""
