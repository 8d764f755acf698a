"""How a board is reached: transports, agent deployment and the session with the agent."""
