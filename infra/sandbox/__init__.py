"""Providers to practise with: an SMS gateway, a mail server and a push service on loopback, and people who answer.

They speak the real protocols on real sockets and can be told to misbehave, so that a demonstration needs no account
and a test can ask for the failures that a real provider shows once a year.
"""
