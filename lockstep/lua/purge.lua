-- Purpose: take back what waits, is scheduled or backs off, in a bounded batch, without records. What runs goes on, and
--          its group keeps it as its head; dead letters stay. Safe to repeat: what is gone is gone.
-- KEYS:    1 meta of the shard
-- ARGV:    1 only what was accepted until then (ms; '' until now), 2 messages to purge at most, 3 group that they must
--          be of ('' any), 4 where to look, then for
--            scheduled: how many to pass over, how many to look at
--            ready:     level, how many groups to look at: those that go on stand behind the others then
--            refs:      refs of groups
-- Answers: that time (ms); messages purged; how many were looked at to their end; how many of those remain
-- States:  message waiting | scheduled | backoff -> (none); group ready | blocked | paused -> absent | ready

-- @include shard
-- @include row
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include finished
-- @include removed

local UNTIL, GROUP = tonumber(ARGV[1]) or NOW, ARGV[3]
local budget = tonumber(ARGV[2])
local gone, actors = {}, {}

local function may_go(row)
    return not row or row[ROW.ENQUEUED] <= UNTIL and row[ROW.DIED] == 0
end

local function is_of_group(ref, row)
    return GROUP == '' or ref == 'g:' .. GROUP or row ~= nil and extra_of(row, 'group') == GROUP
end

local function take(id, row)
    gone[#gone + 1] = id
    budget = budget - 1
    if row then
        release_finished(id, row)
        actors[row[ROW.ACTOR]] = (actors[row[ROW.ACTOR]] or 0) + 1
    end
end

-- Take what is behind the head, as far as the budget goes; answers whether that was all.
local function purge_behind(ref)
    local list, taken = list_key(ref), 0
    local ids = redis.call('LRANGE', list, 1, budget)
    for _, id in ipairs(ids) do
        local row = fetch_row(id)
        if not may_go(row) then
            break
        end
        take(id, row)
        taken = taken + 1
    end
    if taken > 0 then
        local head = redis.call('LPOP', list)
        redis.call('LPOP', list, taken)
        redis.call('LPUSH', list, head)
    end
    return budget > 0
end

-- Answers whether nothing is left to be purged of a group, and whether its head went.
local function purge_group(ref)
    if is_listed(ref) and not purge_behind(ref) then
        return false
    end
    local id = head_of(ref)
    local row = fetch_row(id)
    if not id or is_leased(ref) or not row and not is_listed(ref) or not may_go(row) or not is_of_group(ref, row) then
        return true, false
    end
    take(id, row)
    pop_head(ref)
    return true, true
end

local looked, remaining = 0, 0
local look = {}

function look.scheduled(first, number)
    for _, member in ipairs(redis.call('ZRANGE', key('scheduled'), first, first + number - 1)) do
        if budget == 0 then
            break
        end
        local id = string.sub(member, 17)
        local row = fetch_row(id)
        if may_go(row) and (not row or is_of_group(row[ROW.REF], row)) then
            redis.call('ZREM', key('scheduled'), member)
            take(id, row)
        else
            remaining = remaining + 1
        end
        looked = looked + 1
    end
end

function look.ready(level, number)
    local kept = {}
    while looked < number and budget > 0 do
        local ref = redis.call('LPOP', ready_key(level))
        if not ref then
            break
        end
        local finished, went = purge_group(ref)
        if not finished then
            redis.call('LPUSH', ready_key(level), ref)
            break
        end
        looked = looked + 1
        if not went or is_listed(ref) and redis.call('EXISTS', list_key(ref)) == 1 then
            kept[#kept + 1] = ref
        end
    end
    remaining = #kept
    make_ready('RPUSH', kept)
end

function look.refs()
    for i = 5, #ARGV do
        if budget == 0 then
            break
        end
        local finished, went = purge_group(ARGV[i])
        if went then
            reseat(ARGV[i])
        end
        if not finished then
            break
        end
        looked = looked + 1
    end
end

write_though_full()
look[ARGV[4]](tonumber(ARGV[5]), tonumber(ARGV[6]))
if #gone > 0 then
    forget(gone)
    note_removed(gone, 'purged')
    for actor, number in pairs(actors) do
        redis.call('HINCRBY', key('stats'), 'cancelled|' .. actor, number)
    end
end
return {UNTIL, #gone, looked, remaining}
