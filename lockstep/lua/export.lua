-- Purpose: read everything that is known about some messages which are unfinished or dead. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    ids, at most 500
-- Answers: for each that is neither done, cancelled nor gone, until 8 MiB are read: its place in ARGV, state, ref,
--          actor, payload, sequence, enqueued (ms), failures, crashes, parked (ms), attempts (see includes/row.lua),
--          due (ms; '' none), died (ms), reason, 1 when its death blocks its group, 1 when it does, extra (JSON; '' none);
--          and as the last element how many ids were looked at
-- States:  none changes

-- @include shard
-- @include row
-- @include group
-- @include state

local MOST_BYTES = 8 * 1024 * 1024

local function due_of(state, row)
    if state == 'backoff' then
        local score = redis.call('ZSCORE', key('blocked'), row[ROW.REF])
        return score ~= 'inf' and score or ''
    elseif state == 'scheduled' then
        return redis.call('ZSCORE', key('scheduled'), row[ROW.MEMBER]) or ''
    end
    return ''
end

local answer, bytes, looked = {}, 0, 0
for i, id in ipairs(ARGV) do
    local packed = redis.call('HGET', key('messages'), id)
    local row = packed and read_row(packed)
    local state = row and state_of(id, row)
    if row and state ~= 'done' and state ~= 'cancelled' then
        local blocks_now = state == 'dead' and is_listed(row[ROW.REF]) and head_of(row[ROW.REF]) == id
        answer[#answer + 1] = {i, state, row[ROW.REF], row[ROW.ACTOR], row[ROW.PAYLOAD], row[ROW.SEQUENCE],
            row[ROW.ENQUEUED], row[ROW.FAILURES], row[ROW.CRASHES], row[ROW.PARKED], row[ROW.HISTORY],
            due_of(state, row), row[ROW.DIED], row[ROW.REASON], row[ROW.BLOCKS], blocks_now and 1 or 0,
            row[ROW.EXTRA] and cjson.encode(row[ROW.EXTRA]) or ''}
        bytes = bytes + #packed
    end
    looked = i
    if bytes > MOST_BYTES then
        break
    end
end
answer[#answer + 1] = looked
return answer
