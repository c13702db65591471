"""Kafka: settings, the edge between a topic and a service's work, topics, tables. Nobody else
imports aiokafka."""
