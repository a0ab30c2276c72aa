-- Purpose: count what a shard holds, in constant time. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    none
-- Answers: messages: scheduled, waiting, running, backoff, done, dead, cancelled;
--          groups: ready, leased, blocked, paused;
--          age (ms) of the head that has been ready longest, of those with the first priority (-1: none); stats (flat); claimers (flat, ms since seen);
--          1 when the shard is paused, else 0; dead letters by actor (flat)
-- States:  none changes

-- @include shard
-- @include row
-- @include group
-- @include ready

local leased = redis.call('HLEN', key('leases'))
local scheduled = redis.call('ZCARD', key('scheduled'))
local backoff = redis.call('ZCOUNT', key('blocked'), '-inf', '(+inf')
local done = redis.call('HLEN', key('done'))
local dead = redis.call('ZCARD', key('dead'))
local cancelled = redis.call('ZCARD', key('cancelled'))
local waiting = redis.call('HLEN', key('messages')) - leased - scheduled - backoff - done - dead - cancelled
    + redis.call('ZCARD', key('outbox')) -- on their way to their groups

local age = -1
local ready, levels = count_ready()
local oldest = redis.call('LINDEX', ready_key(levels[1] and levels[1][1] or 0), 0)
local packed = oldest and redis.call('HGET', key('messages'), head_of(oldest) or '')
local row = packed and unpack_row(packed)
if row then -- bytes that are no row have no age; the next claim hands them out as they are
    age = NOW - row[ROW.ENQUEUED]
end

local claimers = redis.call('ZRANGE', key('claimers'), 0, -1, 'WITHSCORES')
for i = 2, #claimers, 2 do
    claimers[i] = NOW - tonumber(claimers[i])
end
return {scheduled, waiting, leased, backoff, done, dead, cancelled, ready, leased,
    redis.call('ZCARD', key('blocked')) + redis.call('HLEN', key('limited')), redis.call('SCARD', key('halted')), age,
    redis.call('HGETALL', key('stats')), claimers, redis.call('HEXISTS', KEYS[1], 'paused'),
    redis.call('HGETALL', key('dead_actors'))}
