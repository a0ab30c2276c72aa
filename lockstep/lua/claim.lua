-- Purpose: lease the heads of groups that are ready, at most one of a group, in turn.
--          Repeatable: a resent call answers the same leases, as far as they still hold.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 epoch (8 characters: this life of Redis), 4 nonce (16 characters),
--          5 heads wanted (at most 1,000), 6 lease (ms), 7 owner, 8 '1' to hold off after a restart of Redis,
--          9 leases that the claimer holds here already (to take no more than its share); -1: more than its share
-- Answers: now (ms); whether other groups are ready (0: no, 1: yes, 2: yes, beyond the claimer's share);
--          ms until something falls due (-1: nothing);
--          then for each lease: ref, token, id, actor, payload, sequence, failures, crashes, enqueued, parked
-- States:  message waiting -> running; group ready -> leased | paused; what is due: see includes/due.lua

-- @include shard
-- @include session
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include due

local SESSION, NUMBER, EPOCH, NONCE, OWNER = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local WANTED, LEASE_MS, HELD = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[9])

-- Groups that one claim takes out of the ready list at most: leased, or put where they must wait.
local LOOKED_AT = 1000

local meta = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'hold_until', 'hold_since', 'paused')

-- Redis began a new life and may have lost its tail: a holder of the former life that this one does not know
-- may still run. Nobody claims until its lease has ended or its renewal was refused, or the clock stepped back.
local hold_until = NOW >= tonumber(meta[4] or 0) and tonumber(meta[3] or 0) or 0
if meta[2] ~= EPOCH then
    write_though_full()
    redis.call('HSET', KEYS[1], 'epoch', EPOCH)
    if meta[2] and ARGV[8] == '1' and redis.call('ZCARD', key('claimers')) > 0 then
        hold_until = NOW + LEASE_MS
        redis.call('HSET', KEYS[1], 'hold_until', hold_until, 'hold_since', NOW)
    end
end
if hold_until > NOW then
    return {NOW, 0, hold_until - NOW}
end

local function describe(ref, token, id, row)
    return {ref, token, id, row[ROW.ACTOR], row[ROW.PAYLOAD], row[ROW.SEQUENCE], row[ROW.FAILURES] or 0,
        row[ROW.CRASHES] or 0, row[ROW.ENQUEUED], row[ROW.PARKED] or 0}
end

local function answer_again(refs)
    local answer = {NOW, 1, 0}
    for _, ref in ipairs(refs) do
        local packed = redis.call('HGET', key('leases'), ref)
        if packed and string.sub(packed, TOKEN_LENGTH - 15, TOKEN_LENGTH) == NONCE then
            local id = head_of(ref)
            local row = fetch_row(id)
            if row then
                answer[#answer + 1] = describe(ref, string.sub(packed, 1, TOKEN_LENGTH), id, row)
            end
        end
    end
    return answer
end

local claimed_before = replay(SESSION, NUMBER)
if claimed_before then
    return answer_again(claimed_before)
end

if meta[5] then
    return {NOW, 0, -1} -- resuming wakes whoever waits
end

promote_due(100)

local ready = count_ready()
if ready == 0 then
    return {NOW, 0, next_due()}
end

-- Few groups are shared out evenly, or whoever comes first takes them all, again and again, while others idle.
local share = WANTED
if HELD >= 0 then
    local claimers = math.max(1, redis.call('ZCOUNT', key('claimers'), NOW - LEASE_MS, '+inf'))
    local groups = ready + redis.call('HLEN', key('leases'))
    share = math.min(WANTED, math.max(0, math.ceil(groups / claimers) - HELD))
end

-- Those that were paused while they could not be taken out of the ready list: they stay out until they are resumed.
local function without_paused(refs)
    if redis.call('EXISTS', key('paused')) == 0 then
        return refs
    end
    local paused, others = redis.call('SMISMEMBER', key('paused'), unpack(refs)), {}
    for i, ref in ipairs(refs) do
        if paused[i] == 1 then
            redis.call('SADD', key('halted'), ref)
        else
            others[#others + 1] = ref
        end
    end
    return others
end

-- Bytes that are no row are handed out as they are: the worker cannot decode them either, and dead-letters them.
local function read_claimed(id, ref, packed)
    local row = unpack_row(packed)
    if not row then
        row = {ref, '', packed, 0, NOW}
        write_row(id, row)
    end
    return row
end

local fence = math.max(tonumber(meta[1] or 0), NOW_US - 1)
local by_owner = held_by(OWNER)
local answer, leases, expiries, leased, passed = {NOW, 0, 0}, {}, {}, {}, {}

local function lease(ref, id, row)
    fence = fence + 1
    local token = EPOCH .. ':' .. string.format('%016.0f', fence) .. ':' .. NONCE
    answer[#answer + 1] = describe(ref, token, id, row)
    leases[#leases + 1] = ref
    leases[#leases + 1] = token .. by_owner
    expiries[#expiries + 1] = NOW + LEASE_MS
    expiries[#expiries + 1] = ref
    leased[#leased + 1] = ref
end

-- Lease the heads of groups that were taken out of the ready list, or put them where they must wait.
local function take(refs)
    local ids = {}
    for i, ref in ipairs(refs) do
        ids[i] = head_of(ref) or ''
    end
    local rows = redis.call('HMGET', key('messages'), unpack(ids))
    for i, ref in ipairs(refs) do
        if rows[i] then
            local row = read_claimed(ids[i], ref, rows[i])
            if not waits_for_its_time(ref, row) then
                lease(ref, ids[i], row)
            end
        elseif ids[i] ~= '' and pop_head(ref) then
            passed[#passed + 1] = ref -- its head has no row (Redis lost it): the group goes on without it
        end
    end
end

-- Groups that must wait count as looked at, so that a claim ends however many of them there are.
local taken = 0
while #leased < share and taken < ready and taken < LOOKED_AT do
    local refs = pop_ready(math.min(share - #leased, LOOKED_AT - taken))
    if #refs == 0 then
        break
    end
    taken = taken + #refs
    refs = without_paused(refs)
    if #refs > 0 then
        take(refs)
    end
end
if #leased > 0 then
    redis.call('HSET', key('leases'), unpack(leases))
    redis.call('ZADD', key('expiries'), unpack(expiries))
    redis.call('HSET', KEYS[1], 'fence', string.format('%.0f', fence))
    remember(SESSION, NUMBER, leased)
end
make_ready('RPUSH', passed)

-- Pass the wake-up on when groups remain, take it back when none do.
if ready > taken or #passed > 0 then
    if share < WANTED then
        answer[2], answer[3] = 2, next_due()
    else
        answer[2] = 1
    end
    write_though_full()
    wake()
else
    redis.call('DEL', key('wake'))
    answer[3] = next_due()
end
return answer
