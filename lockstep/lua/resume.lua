-- Purpose: claim again of the shard, or of one group, each message at its place. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    1 ref of the group ('' for the whole shard)
-- Answers: 1 resumed now, 0 it was not paused
-- States:  group paused -> ready

-- @include shard
-- @include row
-- @include group
-- @include ready

local REF = ARGV[1]
if REF == '' then
    if count_ready() > 0 then
        wake()
    end
    return redis.call('HDEL', KEYS[1], 'paused')
end
if redis.call('SREM', key('halted'), REF) == 1 then
    make_ready('RPUSH', {REF})
end
return redis.call('SREM', key('paused'), REF)
