"""The messages on the topics, one model a topic, and the topics themselves.

What may not live here: clients, brokers, anything that waits. A message may carry a routing table;
the arithmetic never sees a message.
"""
