"""What a board's sensors, firmware and tools say, and how that changes over time."""
