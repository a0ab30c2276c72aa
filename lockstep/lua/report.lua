-- Purpose: note what a process says of itself, and forget those that said nothing for long. Safe to repeat.
-- KEYS:    1 processes (hash), 2 processes:seen (zset)
-- ARGV:    1 name, 2 record (opaque), 3 for how long a process is remembered after it was heard of (ms)
-- Answers: 1
-- States:  none changes

-- @include clock

local FORGET_MS = tonumber(ARGV[3])

-- Removing comes first: where Redis is full, a script that freed memory may write.
redis.call('HDEL', KEYS[1], ARGV[1])
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. (NOW - FORGET_MS), 'LIMIT', 0, 100)
for _, name in ipairs(gone) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], NOW, ARGV[1])
redis.call('PEXPIRE', KEYS[1], FORGET_MS)
redis.call('PEXPIRE', KEYS[2], FORGET_MS)
return 1
