-- Purpose: let dead letters live again, in their original order, at the tail or at the head of their groups; those
--          named, or those that match a filter, a batch a call. What is not dead is left alone.
--          Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard
-- ARGV:    1 session, 2 call number, 3 '1' to change nothing and only count, 4 died by (ms; '': now),
--          5 most that this call changes (at most 500), 6 'tail' or 'head', 7 ms between two of them (0: all at once; only
--          to the tail), 8 the first of them not before (ms), 9 filter (JSON; '': those named),
--          10 place after which to look ('': from the beginning), then the ids that are named, at most 500
-- Answers: place up to which it looked ('': all), died by (ms), ms of the next one, ids that matched
-- States:  message dead -> waiting | scheduled | backoff; group absent | ready | blocked -> ready | blocked

-- @include shard
-- @include session
-- @include row
-- @include group
-- @include ready
-- @include lanes
-- @include place
-- @include death
-- @include dead
-- @include exhume
-- @include matching
-- @include selection
-- @include insert

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer
end

local died_by = tonumber(ARGV[4]) or NOW
local most, to_head, interval = math.min(tonumber(ARGV[5]), MOST_CHANGED), ARGV[6] == 'head', tonumber(ARGV[7])
local at = math.max(tonumber(ARGV[8]), NOW)

local ids, rows, place
if ARGV[9] == '' then
    ids, rows = select_named(11, died_by)
    place = ''
else
    ids, rows, place = select_matching(cjson.decode(ARGV[9]), ARGV[10], died_by, most)
end
if ARGV[3] == '1' then
    return {place, died_by, at, ids}
end

write_though_full()

local delayed = false
local fresh = {} -- refs that were nowhere and are ready now
local moved = {} -- those that stand where their former head belonged

local function move(ref)
    if not moved[ref] then
        moved[ref] = true
        moved[#moved + 1] = ref
    end
end

-- The attempts of a message start anew; what happened before stays in its history.
local function revive(id, row)
    unlist_dead(id, row)
    row[ROW.FAILURES], row[ROW.CRASHES], row[ROW.PARKED], row[ROW.DIED], row[ROW.REASON] = 0, 0, 0, 0, ''
    set_extra(row, 'kind', nil)
    set_extra(row, 'begun', nil)
    set_extra(row, 'due', nil)
    set_extra(row, 'redriven', (extra_of(row, 'redriven') or 0) + 1)
    redis.call('DEL', key('result:' .. id))
end

local function schedule(id, row)
    row[ROW.SEQUENCE] = 0
    row[ROW.MEMBER] = string.format('%016.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1)) .. id
    redis.call('ZADD', key('scheduled'), math.floor(at), row[ROW.MEMBER])
    delayed = true
end

-- One that blocks its group: its place is kept for it. Earlier ones may have been put behind it meanwhile.
local function unblock(id, row)
    local ref = row[ROW.REF]
    if at > NOW then
        set_extra(row, 'begun', true)
        redis.call('ZADD', key('blocked'), math.floor(at), ref)
        delayed = true
        return
    end
    redis.call('ZREM', key('blocked'), ref)
    pop_head(ref)
    insert_in_order(ref, id, row[ROW.SEQUENCE])
    move(ref)
end

local function join_tail(id, row)
    row[ROW.SEQUENCE] = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    if append(row[ROW.REF], id) then
        fresh[#fresh + 1] = row[ROW.REF]
    end
end

local function join_head(id, row)
    local ref = row[ROW.REF]
    local position = is_listed(ref) and insert_in_order(ref, id, row[ROW.SEQUENCE])
    if not position or position == 'alone' then
        fresh[#fresh + 1] = ref
    elseif position == 'first' then
        move(ref)
    end
end

for i, id in ipairs(ids) do
    local row = rows[i]
    revive(id, row)
    if blocks_its_group(id, row) then
        unblock(id, row)
    elseif at > NOW then
        schedule(id, row)
    elseif to_head then
        join_head(id, row)
    else
        join_tail(id, row)
    end
    write_row(id, row)
    at = at + interval
end

make_ready('RPUSH', fresh)
for _, ref in ipairs(moved) do
    reseat(ref)
end
if delayed then
    wake() -- whoever sleeps knows of nothing that is due so soon
end
return remember(ARGV[1], ARGV[2], {place, died_by, at, ids})
