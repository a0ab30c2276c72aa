-- Purpose: remove finished records whose retention has ended, a batch of each kind. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    1 age (ms) of the oldest record to keep, 2 records of a kind to keep, 3 age (ms) of the oldest dead letter to keep
--          (0: all are kept), 4 batch (at most 1,000)
-- Answers: how many went: done, cancelled, dead
-- States:  message done | cancelled | dead -> (none); group blocked by a dead letter -> ready | absent

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include death
-- @include dead
-- @include exhume
-- @include finished
-- @include retention
-- @include discard

local KEEP_MS, KEEP, KEEP_DEAD_MS, BATCH = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

write_though_full()
local done = drop_done(NOW - KEEP_MS, KEEP, BATCH)
drop_kept(BATCH)
local cancelled = drop_older('cancelled', NOW - KEEP_MS, KEEP, BATCH)
local dead = redis.call('ZCARD', key('dead'))
if KEEP_DEAD_MS > 0 then
    discard_older(NOW - KEEP_DEAD_MS, BATCH)
end
return {done, cancelled, dead - redis.call('ZCARD', key('dead'))}
