-- Purpose: read which message a client's key stands for. Writes nothing.
-- KEYS:    1 record of what was asked before (see includes/once.lua)
-- ARGV:    none
-- Answers: id of the message; nothing when nothing was asked under the key, or its record expired
-- States:  none changes

local packed = redis.call('GET', KEYS[1])
return packed and cmsgpack.unpack(packed)[2]
