"""Apache Kafka: the log as a feed, and the lanes by which shards come to workers on other machines."""
