-- Purpose: read what became of a message, for a caller that waits for its result. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 id
-- Answers: nothing when the shard does not know the id, else: its state, or 'removed' when it was purged or discarded;
--          its result (false: there is none); why it is dead or was removed; class and message of what it died of
-- States:  none changes

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include state
-- @include death
-- @include removed

local id = ARGV[1]
local result = redis.call('GET', key('result:' .. id))
local row = fetch_row(id)
if not row then
    if result then -- the record expired first
        return {'done', result, '', '', ''}
    end
    local reason = reason_of_removal(id)
    return reason and {'removed', false, reason, '', ''}
end
local state = state_of(id, row)
if state == 'done' then
    return {state, result, '', '', ''}
elseif state ~= 'dead' then
    return {state, false, '', '', ''} -- a result would be that of an earlier message with this id
end
local class, _, message = death_of(row)
return {state, result, row[ROW.REASON], class, message}
