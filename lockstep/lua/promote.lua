-- Purpose: let a message that waits for its time go on now: a scheduled one joins the tail of its group, one that backs
--          off or holds its place is due. Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 id, 4 '1' for a scheduled one as well
-- Answers: nothing when the id is unknown, else: the state it was in, its actor, 1 when something changed, else 0
-- States:  message scheduled -> waiting, backoff -> waiting; group blocked | absent -> ready

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

local id = ARGV[3]
local row = fetch_row(id)
if not row then
    return false
end
local ref, state = row[ROW.REF], state_of(id, row)
local changed = 0
write_though_full()

-- Its group waits no longer once it is the head.
local function forget_due()
    if (extra_of(row, 'due') or 0) > NOW then
        set_extra(row, 'due', NOW)
        write_row(id, row)
        changed = 1
    end
end

if state == 'scheduled' and ARGV[4] == '1' then
    redis.call('ZREM', key('scheduled'), row[ROW.MEMBER])
    row[ROW.SEQUENCE] = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    row[ROW.MEMBER] = ''
    set_extra(row, 'due', NOW)
    write_row(id, row)
    if append(ref, id) then
        make_ready('RPUSH', {ref})
    end
    changed = 1
elseif state == 'backoff' then
    forget_due()
    redis.call('ZREM', key('blocked'), ref)
    make_ready('RPUSH', {ref})
    changed = 1
elseif state == 'waiting' then
    forget_due()
end
return remember(ARGV[1], ARGV[2], {state, row[ROW.ACTOR], changed})
