"""What the paths read: SQL in, JSON documents out. Times are seconds since the epoch, hashes are hex."""
