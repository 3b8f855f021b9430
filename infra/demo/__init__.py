"""A city made up for demo and tests: its tree of offices and stations, its people, and one warning to send them.

Places are real, everything else is invented: organisations, people, addresses and the flood. Nothing here can reach
anybody (phones.py says why), even if a real provider were configured by mistake.
"""
