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
--          and after it, for each follow-up message: follow, entry of the outbox (opaque bytes)
--          A follow-up is stored only when its settlement is done as asked.
--          Whoever was asked to cancel and ends otherwise than done is cancelled.
-- Answers: for each settlement: 1 done as asked, 2 cancelled instead, 0 the token holds no lease
-- States:  message running -> done | backoff | waiting | dead | cancelled; group leased -> ready | blocked | absent

-- @include shard
-- @include session
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include finished

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local EXTRA = {complete = 0, result = 2, retry = 2, dead_letter = 2, dead_result = 4, release = 3, cancel = 0}
local KEEP = tonumber(ARGV[3])

local counters_end = 5 + 2 * tonumber(ARGV[5])
local settlements, refs = {}, {}
local follow_ups -- of few: number of the settlement, entry
local place = counters_end + 1
while ARGV[place] do
    local verb = ARGV[place]
    if verb == 'follow' then
        follow_ups = follow_ups or {}
        follow_ups[#follow_ups + 1] = {#settlements, ARGV[place + 1]}
        place = place + 2
    else
        settlements[#settlements + 1] = place
        refs[#refs + 1] = ARGV[place + 1]
        place = place + 4 + EXTRA[verb]
    end
end

local ENDED = cmsgpack.pack(NOW)
local ready_first, ready_last, ended, finished, done, results = {}, {}, {}, {}, {}, {}

local rare -- what most calls do not need: see below
local opened = false -- a lane whose limit has room again

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
        rare.keep_for(id, packed .. ENDED, extras.retention)
        return
    end
    finished[#finished + 1] = id
    done[#done + 1] = id
    done[#done + 1] = packed .. ENDED
end

-- Declared once they matter: whatever a script declares costs every call of it.
local function declare_rare()
-- @include lanes
-- @include limits
-- @include ended
-- @include death
-- @include dead
-- @include cancelled
-- @include kept
-- @include ends
    rare = {end_extras = end_extras, keep_for = keep_for, settle = settle_undone}
end

local function settle_one(verb, ref, id, packed, at)
    local completes = verb == 'complete' or verb == 'result'
    if not rare and (not completes or extras_of(packed)) then
        declare_rare()
    end
    if not completes then
        return rare.settle(verb, ref, id, packed, at)
    end
    if rare then
        opened = rare.end_extras(packed) or opened
    end
    complete(ref, id, packed)
    if verb == 'result' then
        results[#results + 1] = {key('result:' .. id), ARGV[at], ARGV[at + 1]}
    end
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

for _, one in ipairs(follow_ups or {}) do
    if answer[one[1]] == 1 then
        redis.call('ZADD', key('outbox'), NOW, one[2])
    end
end
for _, result in ipairs(results) do
    redis.call('SET', result[1], result[2], 'PX', result[3])
end
for i = 6, counters_end, 2 do
    redis.call('HINCRBY', key('stats'), ARGV[i], ARGV[i + 1])
end
return remember(ARGV[1], ARGV[2], answer)
