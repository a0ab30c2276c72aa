-- Purpose: read what some groups are, and what they wait for. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    refs of groups, at most 500
-- Answers: for each: ref, state ('' when it has no messages), messages that have not ended, id of its head, when that
--          was accepted (ms), who holds it, its fence, when its lease ends (ms), until when it is blocked (ms),
--          why it does not go on, name of the limit that it waits for ('' and 0 wherever there is none);
--          1 when an operator paused it
-- States:  none changes

-- @include shard
-- @include row
-- @include lease
-- @include group

local QUEUE_PAUSED = redis.call('HEXISTS', KEYS[1], 'paused') == 1

-- What a lease says: its owner, its fence, its end.
local function held(ref, packed)
    local lease = read_lease(packed)
    return {lease.owner, string.sub(lease.token, 10, 25), redis.call('ZSCORE', key('expiries'), ref) or ''}
end

local function why_blocked(row, score)
    if row and row[ROW.DIED] > 0 then
        return 'dead_letter'
    elseif row and extra_of(row, 'due') == tonumber(score) then
        return 'hold_place'
    end
    return row and row[ROW.PARKED] > 0 and 'unknown_actor' or 'backoff'
end

-- State, until when, why, limit of a group that is not leased.
local function standing(ref, row, paused)
    local score = redis.call('ZSCORE', key('blocked'), ref)
    if score then
        return 'blocked', score ~= 'inf' and score or '', why_blocked(row, score), ''
    end
    local lane = redis.call('HGET', key('limited'), ref)
    if lane then
        local at = tonumber(redis.call('ZSCORE', key('lanes'), lane) or 0)
        local why = string.sub(lane, -7) == '|paused' and 'actor_paused' or 'limit'
        return 'blocked', at > NOW and at < math.huge and tostring(at) or '', why, string.match(lane, '^[^|]*')
    elseif paused then
        return 'paused', '', 'paused', ''
    end
    return 'ready', '', QUEUE_PAUSED and 'queue_paused' or '', ''
end

local function describe(ref)
    local paused = redis.call('SISMEMBER', key('paused'), ref)
    local depth = is_listed(ref) and redis.call('LLEN', list_key(ref)) or redis.call('HEXISTS', key('messages'), head_of(ref))
    if depth == 0 then
        return {ref, '', 0, '', 0, '', '', '', '', paused == 1 and 'paused' or '', '', paused}
    end
    local id = head_of(ref)
    local row = fetch_row(id)
    local enqueued = row and row[ROW.ENQUEUED] or 0
    local packed = redis.call('HGET', key('leases'), ref)
    if packed then
        local owner, fence, ends = unpack(held(ref, packed))
        return {ref, 'leased', depth, id, enqueued, owner, fence, ends, '', '', '', paused}
    end
    local state, until_, why, limit = standing(ref, row, paused == 1)
    return {ref, state, depth, id, enqueued, '', '', '', until_, why, limit, paused}
end

local answer = {}
for i, ref in ipairs(ARGV) do
    answer[i] = describe(ref)
end
return answer
