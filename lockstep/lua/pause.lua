-- Purpose: claim nothing more of the shard, or of one group, until it is resumed. What runs goes on. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    1 ref of the group ('' for the whole shard)
-- Answers: 1 paused now, 0 it was already
-- States:  group ready -> paused; one in another state is paused when it would become ready

-- @include shard
-- @include row
-- @include group
-- @include ready

local REF = ARGV[1]
if REF == '' then
    return redis.call('HSETNX', KEYS[1], 'paused', NOW)
end
local changed = redis.call('SADD', key('paused'), REF)
if remove_ready(REF) then
    redis.call('SADD', key('halted'), REF)
end
return changed
