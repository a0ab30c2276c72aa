-- Purpose: read everything about one message. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 id, 2 how many places of its group to look through for its position
-- Answers: nothing when the id is unknown, else: state, ref, actor, payload, sequence, enqueued, crashes, reason,
--          due (ms; '' when nothing is due), position (-1: none), result (false: none),
--          attempts, each: worker, started, ended ('' while it runs), outcome, error;
--          times it was redriven; ms when it died (0: it is not dead), class, fingerprint and message of what it died of
-- States:  none changes

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include state
-- @include death

local id = ARGV[1]
local packed = redis.call('HGET', key('messages'), id)
if not packed then
    return false
end
local row = read_row(packed)
local ref = row[ROW.REF]
local group = extra_of(row, 'group')
local state = state_of(id, row)
local attempts = row[ROW.HISTORY]
local due, position = '', -1

if state == 'done' then
    local record = redis.call('HGET', key('done'), id)
    local held, ended = cmsgpack.unpack(string.sub(record, TOKEN_LENGTH + 1))
    attempts[#attempts + 1] = {held[1], held[2], ended, 'done', ''}
elseif state == 'running' then
    local lease = read_lease(redis.call('HGET', key('leases'), ref))
    attempts[#attempts + 1] = {lease.owner, lease.claimed, '', 'running', ''}
elseif state == 'backoff' then
    due = redis.call('ZSCORE', key('blocked'), ref)
elseif state == 'scheduled' then
    due = redis.call('ZSCORE', key('scheduled'), row[ROW.MEMBER])
end
if state == 'waiting' then
    if is_listed(ref) then
        position = redis.call('LPOS', list_key(ref), id, 'MAXLEN', ARGV[2]) or -1
    else
        position = 0
    end
end
return {state, group and 'g:' .. group or ref, row[ROW.ACTOR], row[ROW.PAYLOAD], row[ROW.SEQUENCE], row[ROW.ENQUEUED], row[ROW.CRASHES],
    row[ROW.REASON], due, position, redis.call('GET', key('result:' .. id)), attempts,
    extra_of(row, 'redriven') or 0, row[ROW.DIED], death_of(row)}
