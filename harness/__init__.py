"""The host side of edgebench: plans, reaches boards, follows jobs and records what came back."""
