"""What flows: cameras and the logs of a plant, through Redis Streams, as text events."""
