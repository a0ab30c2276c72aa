-- Purpose: claim nothing more of the shard, or of one group, until it is resumed. What runs goes on. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    1 ref of the group ('' for the whole shard)
-- Answers: 1 paused now, 0 it was already
-- States:  group ready -> paused; one in another state is paused when it would become ready

-- @include shard

local REF = ARGV[1]
if REF == '' then
    return redis.call('HSETNX', KEYS[1], 'paused', NOW)
end
local changed = redis.call('SADD', key('paused'), REF)
if redis.call('LREM', key('ready'), 1, REF) == 1 then
    redis.call('SADD', key('halted'), REF)
end
return changed
