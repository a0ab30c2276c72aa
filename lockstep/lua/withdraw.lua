-- Purpose: forget a process that stopped in order. Safe to repeat.
-- KEYS:    1 processes (hash), 2 processes:seen (zset)
-- ARGV:    1 name
-- Answers: 1 when it was known, else 0
-- States:  none changes

redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
