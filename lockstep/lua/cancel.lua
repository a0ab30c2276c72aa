-- Purpose: take a message back: at once unless it runs; one that runs is told with the next reap of its worker, or
--          with the renewal of its lease. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    1 id
-- Answers: nothing when the id is unknown, else: the state it was in (running: it was asked to end; done, dead and
--          cancelled: nothing changed), its actor
-- States:  message scheduled | waiting | backoff -> cancelled; group ready | blocked -> ready | absent

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include state
-- @include place
-- @include cancelled

local id = ARGV[1]
local row = fetch_row(id)
if not row then
    return false
end
local ref, state = row[ROW.REF], state_of(id, row)
write_though_full()

if state == 'running' then
    local lease = read_lease(redis.call('HGET', key('leases'), ref))
    lease.extras = lease.extras or {}
    lease.extras.cancel = lease.extras.cancel or NOW
    write_lease(ref, lease)
    redis.call('SADD', key('cancelling'), lease.token)
elseif state == 'scheduled' then
    redis.call('ZREM', key('scheduled'), row[ROW.MEMBER])
    row[ROW.MEMBER] = ''
    note_cancelled(id, row)
elseif state == 'waiting' or state == 'backoff' then
    note_cancelled(id, row)
    if not is_listed(ref) then
        unseat(ref)
    elseif head_of(ref) == id then
        pop_head(ref)
        reseat(ref)
    else
        redis.call('LREM', list_key(ref), 1, id)
    end
end
return {state, row[ROW.ACTOR]}
