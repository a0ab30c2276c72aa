-- Purpose: lease the heads of groups that are ready, at most one of a group, in turn.
--          Repeatable: a resent call answers the same leases, as far as they still hold.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 session, 2 call number, 3 epoch (8 characters: this life of Redis), 4 nonce (16 characters),
--          5 heads wanted (at most 1,000), 6 lease (ms), 7 owner, 8 '1' to hold off after a restart of Redis,
--          9 leases that the claimer holds here already (to take no more than its share); -1: more than its share,
--          10 queue, 11 its shards
-- Answers: now (ms); whether other groups are ready (0: no, 1: yes, 2: yes, beyond the claimer's share);
--          ms until something falls due (-1: nothing);
--          then for each lease: ref, token, id, actor, payload, sequence, failures, crashes, enqueued, parked,
--          ms within which it must start because a limit counts it (0: no limit; -1: its start must be dated anew),
--          and of one that failed before: ms when it failed last, the error (JSON)
-- States:  message waiting -> running; group ready | blocked by a limit -> leased | paused | blocked;
--          what is due: see includes/due.lua

-- @include shard
-- @include session
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include due

local SESSION, NUMBER, EPOCH, NONCE, OWNER = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local WANTED, LEASE_MS, HELD = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[9])
local QUEUE, SHARDS = ARGV[10], tonumber(ARGV[11])

-- Groups that one claim looks at, at most: leased, or put where they must wait.
local LOOKED_AT = 1000

local meta = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'hold_until', 'hold_since', 'paused', 'leveled')
is_leveled = meta[6] ~= false

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

-- The last attempt of a row that failed and is retried; of most there is none.
local function last_failure(row)
    local history = row[ROW.HISTORY] or {}
    for i = #history, 1, -1 do
        if history[i][4] == 'retry' then
            return history[i][3], history[i][5]
        end
    end
end

local function describe(ref, token, id, row, within)
    local described = {ref, token, id, row[ROW.ACTOR], row[ROW.PAYLOAD], row[ROW.SEQUENCE], row[ROW.FAILURES] or 0,
        row[ROW.CRASHES] or 0, row[ROW.ENQUEUED], row[ROW.PARKED] or 0, within}
    if described[7] > 0 then
        described[12], described[13] = last_failure(row)
    end
    return described
end

local function answer_again(refs)
    local answer = {NOW, 1, 0}
    for _, ref in ipairs(refs) do
        local packed = redis.call('HGET', key('leases'), ref)
        if packed and string.sub(packed, TOKEN_LENGTH - 15, TOKEN_LENGTH) == NONCE then
            local id = head_of(ref)
            local row = fetch_row(id)
            if row then
                local extras = extras_of(packed)
                local within = extras and extras.charged and -1 or 0
                answer[#answer + 1] = describe(ref, string.sub(packed, 1, TOKEN_LENGTH), id, row, within)
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
local LIMITED = redis.call('EXISTS', KEYS[2], key('lanes')) > 0
if ready == 0 and not LIMITED then
    return {NOW, 0, next_due()}
end

-- Few groups are shared out evenly, or whoever comes first takes them all, again and again, while others idle.
local share = WANTED
if HELD >= 0 and ready > 0 then
    local claimers = math.max(1, redis.call('ZCOUNT', key('claimers'), NOW - LEASE_MS, '+inf'))
    local groups = ready + redis.call('HLEN', key('leases'))
    share = math.min(WANTED, math.max(0, math.ceil(groups / claimers) - HELD))
end

local fence = math.max(tonumber(meta[1] or 0), NOW_US - 1)
local by_owner = held_by(OWNER)
local answer, leases, expiries, leased, passed = {NOW, 0, 0}, {}, {}, {}, {}

-- A message that is the only one of its kind starts: until then, or its lease says what its end releases.
local function start_unique(id, unique, extras)
    if unique[2] == 'started' then
        release_unique(id, unique[1])
        return extras
    end
    extras = extras or {}
    extras.unique = unique[1]
    return extras
end

-- `extras` is what ends with the lease; `within` see the answers.
local function lease(ref, id, row, extras, within)
    if row[ROW.EXTRA] and row[ROW.EXTRA].unique then
        extras = start_unique(id, row[ROW.EXTRA].unique, extras)
    end
    if row[ROW.EXTRA] and row[ROW.EXTRA].retention then
        extras = extras or {}
        extras.retention = row[ROW.EXTRA].retention
    end
    fence = fence + 1
    local token = EPOCH .. ':' .. string.format('%016.0f', fence) .. ':' .. NONCE
    answer[#answer + 1] = describe(ref, token, id, row, within or 0)
    leases[#leases + 1] = ref
    leases[#leases + 1] = token .. (extras and held_by(OWNER, extras) or by_owner)
    expiries[#expiries + 1] = NOW + LEASE_MS
    expiries[#expiries + 1] = ref
    leased[#leased + 1] = ref
end

local observe_limits, admit, take_from_lanes
local own_due = math.huge -- when this process may start one more, by limits of its own

-- @include take

-- What only limits need is declared once they matter: whatever a script declares costs every call of it.
function observe_limits()
    if admit then
        return
    end
-- @include lanes
-- @include limits
-- @include admit
-- @include waiting
    limits_exist()
    admit, take_from_lanes = lease_or_wait, take_due
end

local taken
if not LIMITED then
    taken = take_ready(ready, share)
else
    observe_limits()
    if NOW_US % 2 == 0 then -- neither what waits for limits nor what is ready comes first each time
        take_from_lanes()
        taken = take_ready(ready, share)
    else
        taken = take_ready(ready, share)
        take_from_lanes()
    end
end
if #leased > 0 then
    redis.call('HSET', key('leases'), unpack(leases))
    redis.call('ZADD', key('expiries'), unpack(expiries))
    redis.call('HSET', KEYS[1], 'fence', string.format('%.0f', fence))
    remember(SESSION, NUMBER, leased)
end
make_ready('RPUSH', passed)

local function due_in()
    if not admit then
        return next_due()
    end
    local next_look = redis.call('ZRANGEBYSCORE', key('lanes'), '(' .. NOW, '(+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local nearest = math.min(own_due, tonumber(next_look or math.huge)) - NOW
    local due = next_due()
    return due >= 0 and math.min(due, nearest) or nearest < math.huge and nearest or -1
end

-- Pass the wake-up on when groups remain, take it back when none do.
if ready > taken or #passed > 0 then
    if share < WANTED then
        answer[2], answer[3] = 2, due_in()
    else
        answer[2] = 1
    end
    write_though_full()
    wake()
elseif admit and redis.call('ZCOUNT', key('lanes'), 0, NOW) > 0 then
    answer[2] = 1
    write_though_full()
    wake()
else
    redis.call('DEL', key('wake'))
    answer[3] = due_in()
end
return answer
