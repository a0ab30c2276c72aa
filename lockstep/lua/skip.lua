-- Purpose: take the head off its group, so that the group goes on without it: one that waits or backs off is dead from
--          now on; one that is dead and blocks the group stays dead. Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 ref of the group
-- Answers: skipped | running (it was left alone) | none (the group is absent); id and actor of the head ('' when none)
-- States:  message waiting | backoff -> dead; group ready | blocked | paused -> ready | paused | absent

-- @include shard
-- @include session
-- @include row
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include death
-- @include dead

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local ref = ARGV[3]
local id = head_of(ref)
if not id then
    return {'none', '', ''}
end
local row = fetch_row(id)
if is_leased(ref) then
    return {'running', id, row and row[ROW.ACTOR] or ''}
end

write_though_full()
if row and row[ROW.DIED] == 0 then
    note_dead(id, row, 'skipped')
end
pop_head(ref)
reseat(ref)
return remember(ARGV[1], ARGV[2], {'skipped', id, row and row[ROW.ACTOR] or ''})
