"""The window: plain ES modules, served by the server. Empty until the chatbot moves in."""
