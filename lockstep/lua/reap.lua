-- Purpose: take back leases that ended without a settle, in bounded batches; let what is due go on; drop old
--          records; note that a claimer lives. Safe to send twice.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 claimer ('' for a process that claims nothing), 2 lease (ms),
--          3 gap (ms) between reaps beyond which holders may have been unable to renew,
--          4 crashes until a message is dead, 5 batch, 6 age (ms) of the oldest finished record to keep,
--          7 age (ms) of the oldest dead letter to keep (0 or nothing: all are kept),
--          8 finished records of a kind to keep (nothing: any number)
-- Answers: leases extended; what came due; ids put back; ids that are dead as worker_lost; 1 when
--          the claimer was not known; ids that were to be cancelled and now are; tokens of leases whose messages are
--          to be cancelled: some of them, when there are more than a batch;
--          entries of the outbox that nobody delivered in time, some of them, oldest first
-- States:  message running -> waiting | dead | cancelled; group leased -> ready | blocked | absent

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include due
-- @include lanes
-- @include limits
-- @include ended
-- @include place
-- @include death
-- @include dead
-- @include exhume
-- @include cancelled
-- @include finished
-- @include retention
-- @include discard

local LEASE_MS, GAP, MAX_CRASHES = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local BATCH, KEEP_MS, KEEP_DEAD_MS = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7] or 0)
local KEEP = tonumber(ARGV[8] or math.huge)

local meta = redis.call('HMGET', KEYS[1], 'reaped_at', 'amnesty', 'latest', 'paused')
local reaped_at = tonumber(meta[1] or NOW)
local amnesty = tonumber(meta[2] or 0)
local latest = math.max(NOW, tonumber(meta[3] or 0)) -- of the clock, as far as it was seen here

write_though_full()

-- Nobody reaped for long: Redis was frozen, or its clock stepped. Holders could not renew, so leases that ended
-- by now are extended once; only a holder that then stays silent loses its lease.
if NOW - reaped_at > GAP or NOW < reaped_at then
    amnesty = NOW
    redis.call('HSET', KEYS[1], 'amnesty', amnesty)
end
redis.call('HSET', KEYS[1], 'reaped_at', NOW, 'latest', latest)

-- While the clock is behind what it was: no lease may last longer than one.
if NOW < latest then
    local ahead = redis.call('ZRANGEBYSCORE', key('expiries'), '(' .. (NOW + LEASE_MS), '+inf', 'LIMIT', 0, BATCH)
    for _, ref in ipairs(ahead) do
        redis.call('ZADD', key('expiries'), NOW + LEASE_MS, ref)
    end
end

-- Entries of the outbox that the consumer which settled them had this time (ms) to deliver; so many at once.
local OWED_MS, OWED_MOST = 2000, 20

local retried, dead, cancelled, ready_first, ready_last = {}, {}, {}, {}, {}
local opened = false -- a lane whose limit has room again

-- A suspect (one crash short of its last) says when it starts; if it had not, the crash was another's.
local function take_back(ref, packed)
    if not packed then -- an expiry without its lease: only damage from outside leaves one
        redis.call('ZREM', key('expiries'), ref)
        return
    end
    local id = head_of(ref)
    local row = fetch_row(id)
    if not row then -- Redis lost the message: only its lease is left
        end_lease(ref)
        opened = end_extras(packed) or opened
        if id and pop_head(ref) then
            ready_last[#ready_last + 1] = ref
        end
        return
    end
    local lease = read_lease(packed)
    local suspect = row[ROW.CRASHES] > 0 and row[ROW.CRASHES] >= MAX_CRASHES - 1
    end_lease(ref)
    opened = end_extras(packed) or opened
    if lease.started or not suspect then
        row[ROW.CRASHES] = row[ROW.CRASHES] + 1
    end
    remember_attempt(row, lease, 'crashed', '')
    if lease.extras and lease.extras.cancel then
        cancelled[#cancelled + 1] = id
        note_cancelled(id, row)
        if pop_head(ref) then
            ready_last[#ready_last + 1] = ref
        end
    elseif row[ROW.CRASHES] >= MAX_CRASHES then
        dead[#dead + 1] = id
        if bury_head(ref, id, row, 'worker_lost') then
            ready_last[#ready_last + 1] = ref
        end
    else
        retried[#retried + 1] = id
        write_row(id, row)
        ready_first[#ready_first + 1] = ref
    end
end

local extended = 0
local expired = redis.call('ZRANGEBYSCORE', key('expiries'), '-inf', NOW, 'WITHSCORES', 'LIMIT', 0, BATCH)
for i = 1, #expired, 2 do
    local ref, ended_at = expired[i], tonumber(expired[i + 1])
    if ended_at <= amnesty then
        redis.call('ZADD', key('expiries'), NOW + LEASE_MS, ref)
        extended = extended + 1
    else
        take_back(ref, redis.call('HGET', key('leases'), ref))
    end
end
make_ready('RPUSH', ready_last)
make_ready('LPUSH', ready_first)
local taken_back = #retried + #dead + #cancelled
if taken_back > 0 then
    redis.call('HINCRBY', key('stats'), 'reaped', taken_back)
end

local due = promote_due(BATCH)

-- The claimer that took the wake-up may have died before it claimed.
if not meta[4] and (opened or count_ready() > 0 or redis.call('ZCOUNT', key('lanes'), '-inf', NOW) > 0) then
    wake()
end

-- A change of the limits holds for what waits, too; whoever made it may have died before it said so.
local revision = redis.call('HGET', LIMITS, 'revision')
if revision and revision ~= redis.call('HGET', KEYS[1], 'limits') then
    redis.call('HSET', KEYS[1], 'limits', revision)
    open_lanes()
end

drop_done(NOW - KEEP_MS, KEEP, BATCH)
drop_kept(BATCH)
drop_older('cancelled', NOW - KEEP_MS, KEEP, BATCH)
if KEEP_DEAD_MS > 0 then
    discard_older(NOW - KEEP_DEAD_MS, BATCH)
end

local new = ARGV[1] ~= '' and redis.call('ZADD', key('claimers'), NOW, ARGV[1]) or 0
redis.call('ZREMRANGEBYSCORE', key('claimers'), '-inf', NOW - 10 * LEASE_MS)
local cancelling = ARGV[1] ~= '' and redis.call('SRANDMEMBER', key('cancelling'), BATCH) or {}
local owed = redis.call('ZRANGEBYSCORE', key('outbox'), '-inf', NOW - OWED_MS, 'LIMIT', 0, OWED_MOST)
return {extended, due, retried, dead, new, cancelled, cancelling, owed}
