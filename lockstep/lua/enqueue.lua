-- Purpose: accept messages, all or none, each at the tail of its group or scheduled for later. A delayed one that
--          holds its place (extra.hold_place) joins at once, and its group waits for it.
--          Idempotent by id: a known id writes nothing and answers what is known.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 number of messages,
--          then for each: id, ref, actor, payload (opaque bytes), delay (ms; 0: none;
--          '=' and a time in ms: until then),
--          '1' when its death blocks its group, extra ('' or a JSON object: see includes/row.lua)
-- Answers: for each message: 1 when its id was known, else 0; its sequence (0: scheduled); its state
-- States:  message (none) -> waiting | scheduled | backoff; group absent -> ready | blocked

-- @include shard
-- @include session
-- @include row
-- @include group
-- @include ready
-- @include state

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local count = tonumber(ARGV[3])
local ids = {}
for i = 1, count do
    ids[i] = ARGV[7 * i - 3]
end
local known = redis.call('HMGET', key('messages'), unpack(ids))

-- Nothing can fail from here on but the memory limit, which refuses the first write.
local fresh, rows, ready, actors = {}, {}, {}, {}
local sequence, soonest, prioritised
local held = {}

local function accept(i, id)
    local ref, actor, payload, delay, blocks, extra = unpack(ARGV, 7 * i - 2, 7 * i + 3)
    extra = extra ~= '' and cjson.decode(extra)
    sequence = sequence and sequence + 1 or redis.call('HINCRBY', KEYS[1], 'seq', 1)
    actors[actor] = (actors[actor] or 0) + 1
    rows[#rows + 1] = id
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

answer = {}
for i, id in ipairs(ids) do
    if known[i] then
        local row = read_row(known[i])
        answer[i] = {1, row[ROW.SEQUENCE], state_of(id, row)}
    elseif fresh[id] then
        answer[i] = {1, fresh[id][2], fresh[id][3]}
    else
        answer[i] = accept(i, id)
        fresh[id] = answer[i]
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
if accepted < count then
    redis.call('HINCRBY', key('stats'), 'deduplicated', count - accepted)
end
return remember(ARGV[1], ARGV[2], answer)
