-- Purpose: let nothing that a limit counts start for a time, because a provider said so. A longer hold stays.
-- KEYS:    1 limits
-- ARGV:    1 instance of the limit, 2 time (ms)
-- Answers: ms that the limit is held now
-- States:  none changes

local hold = KEYS[1] .. ':hold:' .. ARGV[1]
local left = redis.call('PTTL', hold)
if left < tonumber(ARGV[2]) then
    redis.call('SET', hold, 1, 'PX', ARGV[2])
    return tonumber(ARGV[2])
end
return left
