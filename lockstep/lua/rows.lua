-- Purpose: read many messages at once, each in short: what a list of them shows. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 '1' when payloads are wanted, 2 'ids' or 'refs' (then the heads of these groups are meant),
--          then at most 1,000 of them
-- Answers: for each: nothing when there is no such message, else: id, state, ref, actor, sequence, enqueued (ms),
--          failures, crashes, reason, due (ms; '' when nothing is due), last error (JSON; '' when there is none),
--          payload ('' when it is not wanted)
-- States:  none changes

-- @include shard
-- @include row
-- @include group
-- @include state

local function due_of(state, row)
    if state == 'backoff' then
        return redis.call('ZSCORE', key('blocked'), row[ROW.REF])
    elseif state == 'scheduled' then
        return redis.call('ZSCORE', key('scheduled'), row[ROW.MEMBER])
    end
    return ''
end

local function last_error(row)
    local history = row[ROW.HISTORY]
    for i = #history, 1, -1 do
        if history[i][5] ~= '' then
            return history[i][5]
        end
    end
    return ''
end

local answer = {}
for i = 3, #ARGV do
    local id = ARGV[i]
    if ARGV[2] == 'refs' then
        id = head_of(id)
    end
    local row = fetch_row(id)
    if row then
        local state, group = state_of(id, row), extra_of(row, 'group')
        answer[i - 2] = {id, state, group and 'g:' .. group or row[ROW.REF], row[ROW.ACTOR], row[ROW.SEQUENCE],
            row[ROW.ENQUEUED], row[ROW.FAILURES], row[ROW.CRASHES], row[ROW.REASON], due_of(state, row) or '',
            last_error(row), ARGV[1] == '1' and row[ROW.PAYLOAD] or ''}
    else
        answer[i - 2] = false
    end
end
return answer
