-- Purpose: end leases, each by its token: complete, retry, dead-letter, release or cancel.
--          A token that holds no lease changes nothing. Idempotent: a resent call gets its first answers.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 session, 2 call number, 3 finished records to keep, 4 '1' when a claim follows at once,
--          5 number of counters, then for each: stats field, increment;
--          then for each settlement: verb, ref, token, id, and
--            complete:    nothing more
--            result:      (complete with a result) result, its time to live (ms)
--            retry:       delay (ms), error (JSON)
--            dead_letter: reason, error (JSON)
--            dead_result: (dead_letter with a result) reason, error (JSON), result, its time to live (ms)
--            release:     delay (ms), reason ('' when it had not started), '1' to park (its actor is unknown)
--            cancel:      nothing more
--          Whoever was asked to cancel and ends otherwise than done is cancelled.
-- Answers: for each settlement: 1 done as asked, 2 cancelled instead, 0 the token holds no lease
-- States:  message running -> done | backoff | waiting | dead | cancelled; group leased -> ready | blocked | absent

-- @include shard
-- @include session
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include limits
-- @include ended
-- @include death
-- @include dead
-- @include cancelled
-- @include finished
-- @include kept

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local EXTRA = {complete = 0, result = 2, retry = 2, dead_letter = 2, dead_result = 4, release = 3, cancel = 0}
local OUTCOMES = {retry = 'retry', dead_letter = 'dead', dead_result = 'dead', release = 'released'}
local KEEP = tonumber(ARGV[3])

local counters_end = 5 + 2 * tonumber(ARGV[5])
local settlements, refs = {}, {}
local place = counters_end + 1
while ARGV[place] do
    local verb = ARGV[place]
    settlements[#settlements + 1] = place
    refs[#refs + 1] = ARGV[place + 1]
    place = place + 4 + EXTRA[verb]
end

local ENDED = cmsgpack.pack(NOW)
local ready_first, ready_last, ended, finished, done, results = {}, {}, {}, {}, {}, {}

local function complete(ref, id, packed)
    if pop_head(ref) then
        ready_last[#ready_last + 1] = ref
    end
    local extras = extras_of(packed)
    if extras and extras.unique then
        release_unique(id, extras.unique)
    end
    ended[#ended + 1] = ref
    if extras and extras.retention then
        keep_for(id, packed .. ENDED, extras.retention)
        return
    end
    finished[#finished + 1] = id
    done[#done + 1] = id
    done[#done + 1] = packed .. ENDED
end

local function back_off(ref, delay)
    if delay > 0 then
        redis.call('ZADD', key('blocked'), NOW + delay, ref)
    else
        ready_first[#ready_first + 1] = ref
    end
end

-- Each of these gets the row only where it changes it: completing does not.
local settle = {
    complete = complete,
    result = function(ref, id, packed, at)
        complete(ref, id, packed)
        results[#results + 1] = {key('result:' .. id), ARGV[at], ARGV[at + 1]}
    end,
    retry = function(ref, id, packed, at, row)
        row[ROW.FAILURES] = row[ROW.FAILURES] + 1
        remember_attempt(row, read_lease(packed), 'retry', ARGV[at + 1])
        write_row(id, row)
        back_off(ref, tonumber(ARGV[at]))
    end,
    dead_letter = function(ref, id, packed, at, row)
        row[ROW.FAILURES] = row[ROW.FAILURES] + 1
        remember_attempt(row, read_lease(packed), 'dead', ARGV[at + 1])
        if bury_head(ref, id, row, ARGV[at]) then
            ready_last[#ready_last + 1] = ref
        end
    end,
    release = function(ref, id, packed, at, row)
        if ARGV[at + 2] == '1' then
            row[ROW.PARKED] = row[ROW.PARKED] > 0 and row[ROW.PARKED] or NOW
            write_row(id, row)
        elseif ARGV[at + 1] ~= '' then
            remember_attempt(row, read_lease(packed), 'released', '')
            set_extra(row, 'begun', true)
            write_row(id, row)
        elseif tonumber(ARGV[at]) > 0 and not extra_of(row, 'begun') then -- refused inside its actor
            set_extra(row, 'begun', true)
            write_row(id, row)
        end
        back_off(ref, tonumber(ARGV[at]))
    end,
}

local function take_away(ref, id, packed, row, started)
    if started then
        remember_attempt(row, read_lease(packed), 'cancelled', '')
    end
    note_cancelled(id, row)
    if pop_head(ref) then
        ready_last[#ready_last + 1] = ref
    end
end

settle.cancel = function(ref, id, packed, _, row)
    take_away(ref, id, packed, row, true)
end

settle.dead_result = function(ref, id, packed, at, row)
    settle.dead_letter(ref, id, packed, at, row)
    results[#results + 1] = {key('result:' .. id), ARGV[at + 2], ARGV[at + 3]}
end

-- A release without delay and reason: the message had not started, so no limit counts it.
local function unstarted(at)
    return ARGV[at] == '0' and ARGV[at + 1] == '' and ARGV[at + 2] ~= '1'
end

local opened = false -- a lane whose limit has room again

-- The worker did not know yet, and counts (in this call, or in one on another shard) what it asked for.
local function count_as_cancelled(actor, verb)
    redis.call('HINCRBY', key('stats'), 'attempts|' .. actor .. '|' .. OUTCOMES[verb], -1)
    redis.call('HINCRBY', key('stats'), 'attempts|' .. actor .. '|cancelled', 1)
end

local function settle_one(verb, ref, id, packed, at)
    local row
    if verb ~= 'complete' and verb ~= 'result' then
        row = fetch_row(id)
        end_lease(ref)
        if not row then -- Redis lost the message: its group goes on without it
            opened = end_extras(packed) or opened
            if pop_head(ref) then
                ready_last[#ready_last + 1] = ref
            end
            return 0
        end
        local extras = extras_of(packed)
        local started = verb ~= 'release' or not unstarted(at)
        if not started and extras and extras.charged then
            recharge(extras.charged, read_lease(packed).claimed)
        end
        if extras and extras.cancel and verb ~= 'cancel' then
            opened = end_extras(packed) or opened
            take_away(ref, id, packed, row, started)
            count_as_cancelled(row[ROW.ACTOR], verb)
            return 2
        end
    end
    opened = end_extras(packed) or opened
    settle[verb](ref, id, packed, at, row)
    return 1
end

answer = {}
write_though_full()
if #settlements > 0 then
    local leases, settled = redis.call('HMGET', key('leases'), unpack(refs)), {}
    for i, at in ipairs(settlements) do
        local verb, ref, token, id = unpack(ARGV, at, at + 3)
        if holds(leases[i], token) and head_of(ref) == id then
            answer[i] = settled[ref] and 0 or settle_one(verb, ref, id, leases[i], at + 4)
            settled[ref] = true
        else
            answer[i] = 0
        end
    end
end

if #ended > 0 then
    redis.call('HDEL', key('leases'), unpack(ended))
    redis.call('ZREM', key('expiries'), unpack(ended))
    if KEEP > 0 and #finished > 0 then
        redis.call('HSET', key('done'), unpack(done))
        local surplus = redis.call('RPUSH', key('done_order'), unpack(finished)) - KEEP
        surplus = math.min(surplus, 1000) -- fewer are kept since a moment ago: the rest goes with later calls
        finished = surplus > 0 and redis.call('LPOP', key('done_order'), surplus) or {}
        if #finished > 0 then
            redis.call('HDEL', key('done'), unpack(finished))
        end
    end
    if #finished > 0 then
        forget(finished)
    end
end

-- A claim that follows in the same breath takes what is ready and wakes others if it leaves some.
if ARGV[4] == '1' then
    if #ready_last > 0 then
        push_ready('RPUSH', ready_last)
    end
    if #ready_first > 0 then
        push_ready('LPUSH', ready_first)
    end
else
    make_ready('RPUSH', ready_last)
    make_ready('LPUSH', ready_first)
    if opened then
        wake()
    end
end

for _, result in ipairs(results) do
    redis.call('SET', result[1], result[2], 'PX', result[3])
end
for i = 6, counters_end, 2 do
    redis.call('HINCRBY', key('stats'), ARGV[i], ARGV[i + 1])
end
return remember(ARGV[1], ARGV[2], answer)
