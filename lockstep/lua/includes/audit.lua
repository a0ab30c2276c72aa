-- What is wrong with one thing of a shard, judged by all that says where it is. Each audit answers the names of its
-- faults, none for most. `seen` is how often a reader who turned pages saw the thing in lists that are slow to search
-- ('' when it did not look): where that agrees with everything else they are not searched again.

local function add(faults, is_wrong, name)
    if is_wrong then
        faults[#faults + 1] = name
    end
    return faults
end

local function times_in(list, value)
    return #redis.call('LPOS', list, value, 'COUNT', 0)
end

local function times_ready(ref)
    local times = 0
    for level = 0, LEVELS do
        times = times + times_in(ready_key(level), ref)
    end
    return times
end

local function is_done(id)
    return redis.call('HEXISTS', key('done'), id) == 1
end

local function has_ended(id, row)
    return is_done(id) or row[ROW.DIED] > 0 or extra_of(row, 'cancelled')
end

-- The group of a message; a row that is none names no group, but may stand in one.
local function ref_of(id, row, where)
    return row[ROW.REF] ~= '' and row[ROW.REF] or where ~= '' and where or 'm:' .. id
end

local function has_messages(ref)
    if is_listed(ref) then
        return redis.call('EXISTS', list_key(ref)) == 1
    end
    local id = string.sub(ref, 3)
    local row = fetch_row(id)
    return row ~= nil and not has_ended(id, row) and row[ROW.MEMBER] == ''
end

-- Where a group is, beside the ready lists; and in how many of those places.
local function places_of(ref)
    local at = {
        leased = redis.call('HEXISTS', key('leases'), ref) == 1,
        blocked = redis.call('ZSCORE', key('blocked'), ref),
        halted = redis.call('SISMEMBER', key('halted'), ref) == 1,
        limited = redis.call('HGET', key('limited'), ref),
    }
    local number = (at.leased and 1 or 0) + (at.blocked and 1 or 0) + (at.halted and 1 or 0) + (at.limited and 1 or 0)
    return at, number
end

-- Whether a dead letter heads its group, which must wait for an operator then.
local function is_dead_head(ref)
    local id = is_listed(ref) and head_of(ref)
    local row = id and fetch_row(id)
    return row and row[ROW.DIED] > 0 and row[ROW.BLOCKS] == 1 or false
end

local audits = {}

function audits.group(ref, _, seen)
    local faults, at, elsewhere = {}, places_of(ref)
    local messages, ready = has_messages(ref), tonumber(seen)
    if ready == nil or ready + elsewhere ~= (messages and 1 or 0) then
        ready = times_ready(ref)
    end
    if not messages then
        add(faults, ready + elsewhere > 0, 'empty')
    elseif ready + elsewhere == 0 then
        add(faults, true, 'nowhere')
    else
        add(faults, elsewhere + math.min(ready, 1) > 1, 'in two places')
        add(faults, ready > 1, 'ready twice')
        add(faults, (at.blocked == 'inf') ~= is_dead_head(ref), 'blocked wrongly')
    end
    local expires = redis.call('ZSCORE', key('expiries'), ref)
    add(faults, at.leased and not expires, 'lease without end')
    add(faults, expires and not at.leased, 'end without lease')
    add(faults, at.halted and redis.call('SISMEMBER', key('paused'), ref) == 0, 'halted but not paused')
    return add(faults, at.limited and not redis.call('ZSCORE', lane_key(at.limited), ref), 'not in its lane')
end

-- Where an id without a row still stands.
local function stands_somewhere(id, where)
    return where ~= '' and times_in(list_key(where), id) > 0 or redis.call('ZSCORE', key('dead'), id)
        or redis.call('ZSCORE', key('dead_order'), id) or redis.call('ZSCORE', key('cancelled'), id)
end

-- How often a message is in its group; `expected` of that is right.
local function times_listed(id, ref, seen, expected)
    if tonumber(seen) == expected then
        return expected
    elseif is_listed(ref) then
        return times_in(list_key(ref), id)
    end
    local _, elsewhere = places_of(ref)
    return elsewhere > 0 and elsewhere or times_ready(ref)
end

local function audit_ended(faults, id, row)
    local dead, order = redis.call('ZSCORE', key('dead'), id), redis.call('ZSCORE', key('dead_order'), id)
    if row[ROW.DIED] > 0 then
        local kind = redis.call('ZSCORE', key('kind:' .. (extra_of(row, 'kind') or OTHER)), id)
        add(faults, not (dead and order and kind), 'dead but not listed')
    else
        add(faults, dead or order, 'listed as dead')
    end
    local cancelled = redis.call('ZSCORE', key('cancelled'), id)
    add(faults, extra_of(row, 'cancelled') and not cancelled, 'cancelled but not listed')
    return add(faults, cancelled and not extra_of(row, 'cancelled'), 'listed as cancelled')
end

-- `where` is the list that it was seen in.
function audits.message(id, where, seen)
    local row = fetch_row(id)
    if not row then
        return add({}, stands_somewhere(id, where), 'without row')
    end
    local ref, faults = ref_of(id, row, where), {}
    add(faults, where ~= '' and ref ~= where and times_in(list_key(where), id) > 0, 'in another group')
    if where ~= ref then
        seen = where ~= '' and '' or seen
    end
    if has_ended(id, row) then
        local blocks = is_dead_head(ref) and head_of(ref) == id
        local times = is_listed(ref) and times_listed(id, ref, seen, blocks and 1 or 0) or 0
        add(faults, times > (blocks and 1 or 0), 'ended but in its group')
    elseif row[ROW.MEMBER] ~= '' then
        add(faults, not redis.call('ZSCORE', key('scheduled'), row[ROW.MEMBER]), 'not scheduled')
        add(faults, is_listed(ref) and times_listed(id, ref, seen, 0) > 0, 'scheduled but in its group')
    else
        local times = times_listed(id, ref, seen, 1)
        add(faults, times == 0, 'nowhere')
        add(faults, times > 1 and is_listed(ref), 'in its group twice')
    end
    return audit_ended(faults, id, row)
end

-- A member of `scheduled`. Bytes that are no row do not say that they are there.
function audits.scheduled(member)
    local id = string.sub(member, 17)
    local packed = redis.call('HGET', key('messages'), id)
    local row = packed and unpack_row(packed)
    local stands = redis.call('ZSCORE', key('scheduled'), member)
    return add({}, stands and (not packed or row ~= nil and read_row(packed)[ROW.MEMBER] ~= member), 'stray')
end

-- What is remembered of a finished message.
function audits.done(id, _, seen)
    local recorded, ordered = is_done(id), tonumber(seen)
    if ordered ~= (recorded and 1 or 0) then
        ordered = times_in(key('done_order'), id)
    end
    local kept = redis.call('ZSCORE', key('kept'), id)
    local faults = add({}, recorded and ordered == 0 and not kept, 'not in order')
    add(faults, not recorded and (ordered > 0 or kept), 'without record')
    add(faults, ordered > 1, 'in order twice')
    add(faults, ordered > 0 and kept, 'kept and in order')
    local known = redis.call('HEXISTS', key('messages'), id) == 1
    return add(faults, (recorded or ordered > 0 or kept) and not known, 'without row')
end

function audits.kind(kind)
    local facts, letters = redis.call('HEXISTS', key('kinds'), kind) == 1, redis.call('EXISTS', key('kind:' .. kind)) == 1
    return add(add({}, facts and not letters, 'empty'), letters and not facts, 'unknown')
end

-- A dead letter of the kind `where`.
function audits.letter(id, kind)
    local row = fetch_row(id)
    local right = row and row[ROW.DIED] > 0 and (extra_of(row, 'kind') or OTHER) == kind
    return add({}, not right and redis.call('ZSCORE', key('kind:' .. kind), id), 'stray')
end

function audits.lane(lane)
    local groups, look = redis.call('EXISTS', lane_key(lane)) == 1, redis.call('ZSCORE', key('lanes'), lane)
    return add(add({}, groups and not look, 'never looked at'), look and not groups, 'empty')
end

-- A group that waits in the lane `where`.
function audits.waiter(ref, lane)
    local stands = redis.call('ZSCORE', lane_key(lane), ref)
    return add({}, stands and redis.call('HGET', key('limited'), ref) ~= lane, 'stray')
end

-- A message that is found by the word `where`.
function audits.word(id, word)
    local row = fetch_row(id)
    for _, one in ipairs(row and extra_of(row, 'words') or {}) do
        if one == word then
            return {}
        end
    end
    return add({}, redis.call('SISMEMBER', key('word:' .. word), id) == 1, 'stray')
end

-- What a message is the only one by.
function audits.unique(print)
    local id = redis.call('HGET', key('unique'), print)
    local row = id and fetch_row(id)
    local unique = row and extra_of(row, 'unique')
    return add({}, id and not (unique and unique[1] == print and not has_ended(id, row)), 'stray')
end
