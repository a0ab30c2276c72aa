-- Purpose: accept messages, all or none, each at the tail of its group or scheduled for later. A delayed one that
--          holds its place (extra.hold_place) joins at once, and its group waits for it.
--          Idempotent: what is known by its id, by a key of the client's (extra.once: see includes/once.lua) or as
--          the only one of its kind (extra.unique: see includes/unique.lua) is answered and not written again.
-- KEYS:    1 meta of the shard, 2 intake, then records of what was asked before
-- ARGV:    1 session, 2 call number, 3 unfinished messages that the shard may have (0: any number),
--          4 '1' when a running actor sends them: they belong to work that was accepted, whatever the intake is,
--          5 '1' to write nothing and only say what would be refused, 6 number of messages,
--          then for each: id, ref, actor, payload (opaque bytes), delay (ms; 0: none;
--          '=' and a time in ms: until then),
--          '1' when its death blocks its group, extra ('' or a JSON object: see includes/row.lua)
-- Answers: for each message: 0 new, 1 known or asked for before, 2 kept out as not the only one; its sequence
--          (0: scheduled); its state; the id that it is known by, where that may be another.
--          Or why nothing was written: 'off', ms since when, why; 'full', unfinished messages; or
--          'conflict', number of the message, number of its record. That is not remembered: a resent call is judged anew.
-- States:  message (none) -> waiting | scheduled | backoff; group absent -> ready | blocked

-- @include shard
-- @include session
-- @include row
-- @include group
-- @include ready
-- @include state
-- @include index

local MOST, COUNT = tonumber(ARGV[3]), tonumber(ARGV[6])

local seen = redis.call('MGET', session_key(ARGV[1]), KEYS[2])
local answer = replay_of(seen[1], ARGV[2])
if answer then
    return answer
end
if seen[2] and ARGV[4] ~= '1' then
    return {'off', unpack(cmsgpack.unpack(seen[2]))}
end

local function answer_known(id, packed)
    local row = read_row(packed)
    return {1, row[ROW.SEQUENCE], state_of(id, row)}
end

-- The usual call, made short: one message that is neither delayed nor brings anything special. Its row is written first,
-- and tells whether its id was known; then its number goes back.
if COUNT == 1 and MOST == 0 and ARGV[11] == '0' and ARGV[13] == '' and ARGV[5] ~= '1' then
    local id, ref, actor = ARGV[7], ARGV[8], ARGV[9]
    local number = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    if redis.call('HSETNX', key('messages'), id, new_row(ref, actor, ARGV[10], number, ARGV[12], '', false)) == 0 then
        redis.call('HINCRBY', KEYS[1], 'seq', -1)
        redis.call('HINCRBY', key('stats'), 'deduplicated', 1)
        return remember(ARGV[1], ARGV[2], {answer_known(id, redis.call('HGET', key('messages'), id))})
    end
    if append(ref, id) then
        make_ready('RPUSH', {ref})
    end
    redis.call('HINCRBY', key('stats'), 'enqueued|' .. actor, 1)
    return remember(ARGV[1], ARGV[2], {{0, number, 'waiting'}})
end

local ids, extras, special = {}, {}, false
for i = 1, COUNT do
    ids[i] = ARGV[7 * i]
    local extra = ARGV[7 * i + 6]
    if extra ~= '' then
        extra = cjson.decode(extra)
        extras[i] = extra
        special = special or extra.once or extra.unique
    end
end
local known = redis.call('HMGET', key('messages'), unpack(ids))

answer = {}
local judged, fresh, conflict, answer_same, note_answer = {}, 0, nil, nil, nil
if special then
-- @include once
-- @include unique
-- @include judge
else
    fresh = COUNT
end
if conflict then
    return conflict
end
if MOST > 0 and fresh > 0 then
    local unfinished = redis.call('HLEN', key('messages')) - redis.call('HLEN', key('done'))
        - redis.call('ZCARD', key('dead')) - redis.call('ZCARD', key('cancelled'))
    if unfinished + fresh > MOST then
        return {'full', unfinished}
    end
end
if ARGV[5] == '1' then
    return {}
end

-- Nothing can fail from here on but the memory limit, which refuses the first write.
local rows, ready, actors, held = {}, {}, {}, {}
local sequence, soonest, prioritised

local function accept(i, id, extra)
    local ref, actor, payload, delay, blocks = unpack(ARGV, 7 * i + 1, 7 * i + 5)
    sequence = sequence and sequence + 1 or redis.call('HINCRBY', KEYS[1], 'seq', 1)
    actors[actor] = (actors[actor] or 0) + 1
    rows[#rows + 1] = id
    index_words(id, extra)
    delay = tonumber(delay) or tonumber(string.sub(delay, 2)) - NOW
    prioritised = prioritised or extra and extra.priority
    local holds_place = delay > 0 and extra and extra.hold_place and is_listed(ref)
    if holds_place then
        extra.due = NOW + delay
    elseif delay > 0 then
        local member = string.format('%016.0f', sequence) .. id
        rows[#rows + 1] = new_row(ref, actor, payload, 0, blocks, member, extra)
        redis.call('ZADD', key('scheduled'), NOW + delay, member)
        soonest = math.min(soonest or delay, delay)
        return {0, 0, 'scheduled'}
    end
    rows[#rows + 1] = new_row(ref, actor, payload, sequence, blocks, '', extra)
    if not append(ref, id) then
        return {0, sequence, 'waiting'}
    elseif holds_place then
        held[#held + 1] = NOW + delay
        held[#held + 1] = ref
        return {0, sequence, 'backoff'}
    end
    ready[#ready + 1] = ref
    return {0, sequence, 'waiting'}
end

-- What its row has to say.
local function stripped(extra)
    extra.once = nil
    if extra.unique and type(extra.unique[2]) == 'number' then
        extra.unique = nil
    end
    return next(extra) and extra or false
end

local first = {}
for i, id in ipairs(ids) do
    local extra = extras[i]
    local once, unique = extra and extra.once, extra and extra.unique
    if judged[i] then
        answer[i] = type(judged[i]) == 'number' and answer_same(i, id) or judged[i]
    elseif known[i] then
        answer[i] = answer_known(id, known[i])
    elseif first[id] then
        answer[i] = {1, first[id][2], first[id][3]}
    else
        answer[i] = accept(i, id, extra and stripped(extra) or false)
        first[id] = answer[i]
    end
    if once or unique then
        note_answer(id, once, unique, answer[i])
    end
end

local accepted = #rows / 2
if accepted > 0 then
    if accepted > 1 then
        redis.call('HINCRBY', KEYS[1], 'seq', accepted - 1)
    end
    redis.call('HSET', key('messages'), unpack(rows))
    if prioritised then
        redis.call('HSET', KEYS[1], 'leveled', 1)
    end
    if #held > 0 then
        redis.call('ZADD', key('blocked'), unpack(held))
        wake()
    end
    make_ready('RPUSH', ready)
    -- An idle consumer sleeps until the next thing it knows to be due: tell it of anything nearer.
    if soonest and redis.call('ZCOUNT', key('scheduled'), '-inf', '(' .. (NOW + soonest)) == 0 then
        wake()
    end
end
for actor, number in pairs(actors) do
    redis.call('HINCRBY', key('stats'), 'enqueued|' .. actor, number)
end
if accepted < COUNT then
    redis.call('HINCRBY', key('stats'), 'deduplicated', COUNT - accepted)
end
return remember(ARGV[1], ARGV[2], answer)
