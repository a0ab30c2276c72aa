-- How each fault that includes/audit.lua names is mended. A message ends up where its row says; a group without a place
-- waits for what its head waits for, or is ready.

local LEASE_MS = tonumber(ARGV[1])

local function leave_ready(ref)
    for level = 0, LEVELS do
        redis.call('LREM', ready_key(level), 0, ref)
    end
end

local function clear(ref)
    unseat(ref)
    leave_ready(ref)
end

local function drop_lease(ref)
    local packed = redis.call('HGET', key('leases'), ref)
    end_lease(ref)
    if packed and end_extras(packed) then
        wake()
    end
end

-- Put a group that is in no place where it belongs.
local function seat(ref)
    if is_dead_head(ref) then
        redis.call('ZADD', key('blocked'), '+inf', ref)
    elseif not has_messages(ref) then
        return
    elseif redis.call('SISMEMBER', key('paused'), ref) == 1 then
        redis.call('SADD', key('halted'), ref)
    else
        if level_of(ref) > 0 then
            redis.call('HSET', KEYS[1], 'leveled', 1)
            is_leveled = true
        end
        make_ready('RPUSH', {ref})
    end
end

local function seat_anew(ref)
    clear(ref)
    if not is_leased(ref) then
        seat(ref)
    end
end

-- Take a message out of a list; what its lease or its group waited for ends with it.
local function remove_from(ref, id)
    local was_head = head_of(ref) == id
    redis.call('LREM', list_key(ref), 0, id)
    if was_head then
        drop_lease(ref)
        seat_anew(ref)
    end
end

-- Keep the first place of a message in a list.
local function keep_first(list, id)
    redis.call('LREM', list, 1 - times_in(list, id), id)
end

local mends = {group = {}, message = {}, scheduled = {}, done = {}, kind = {}, letter = {}, lane = {}, waiter = {},
    word = {}, unique = {}}

mends.group['nowhere'] = seat_anew

mends.group['empty'] = function(ref)
    drop_lease(ref)
    clear(ref)
end

mends.group['in two places'] = function(ref)
    local until_ms = not is_leased(ref) and redis.call('ZSCORE', key('blocked'), ref)
    clear(ref)
    if until_ms then
        redis.call('ZADD', key('blocked'), until_ms, ref)
    elseif not is_leased(ref) then
        seat(ref)
    end
end

mends.group['ready twice'] = seat_anew

mends.group['blocked wrongly'] = function(ref)
    drop_lease(ref)
    seat_anew(ref)
end

mends.group['lease without end'] = function(ref)
    redis.call('ZADD', key('expiries'), NOW + LEASE_MS, ref)
end

mends.group['end without lease'] = function(ref)
    redis.call('ZREM', key('expiries'), ref)
end

mends.group['halted but not paused'] = seat_anew
mends.group['not in its lane'] = seat_anew

mends.message['without row'] = function(id, where)
    redis.call('ZREM', key('dead'), id)
    redis.call('ZREM', key('dead_order'), id)
    redis.call('ZREM', key('cancelled'), id)
    redis.call('DEL', key('result:' .. id))
    if where ~= '' then
        remove_from(where, id)
    end
end

mends.message['in another group'] = function(id, where)
    remove_from(where, id)
end

mends.message['ended but in its group'] = function(id, where)
    local ref = ref_of(id, fetch_row(id), where)
    if is_dead_head(ref) and head_of(ref) == id then
        keep_first(list_key(ref), id)
    else
        remove_from(ref, id)
    end
end

mends.message['not scheduled'] = function(id)
    redis.call('ZADD', key('scheduled'), NOW, fetch_row(id)[ROW.MEMBER])
    wake()
end

mends.message['scheduled but in its group'] = function(id)
    remove_from(fetch_row(id)[ROW.REF], id)
end

-- Where its sequence says. One that has none joins the tail.
mends.message['nowhere'] = function(id, where)
    local row = fetch_row(id)
    local ref = ref_of(id, row, where)
    if not is_listed(ref) then
        return seat(ref)
    end
    if row[ROW.SEQUENCE] == 0 then
        row[ROW.SEQUENCE] = redis.call('HINCRBY', KEYS[1], 'seq', 1)
        write_row(id, row)
    end
    -- A lease does not say whose it is: beside a head that came later, it may be this message's, which runs again then.
    local head = fetch_row(head_of(ref))
    if is_leased(ref) and not (head and head[ROW.SEQUENCE] < row[ROW.SEQUENCE]) then
        drop_lease(ref)
        seat_anew(ref)
    end
    if insert_in_order(ref, id, row[ROW.SEQUENCE]) ~= 'behind' then
        seat_anew(ref)
    end
    pivots[ref] = nil -- another step may change the list
end

mends.message['in its group twice'] = function(id, where)
    keep_first(list_key(ref_of(id, fetch_row(id), where)), id)
end

mends.message['dead but not listed'] = function(id)
    local row = fetch_row(id)
    local kind = extra_of(row, 'kind')
    if not kind or redis.call('HEXISTS', key('kinds'), kind) == 0 then
        set_extra(row, 'kind', note_kind(row))
        write_row(id, row)
    end
    enlist_dead(id, row)
end

mends.message['listed as dead'] = function(id)
    redis.call('ZREM', key('dead'), id)
    redis.call('ZREM', key('dead_order'), id)
end

mends.message['cancelled but not listed'] = function(id)
    redis.call('ZADD', key('cancelled'), extra_of(fetch_row(id), 'cancelled'), id)
end

mends.message['listed as cancelled'] = function(id)
    redis.call('ZREM', key('cancelled'), id)
end

mends.scheduled['stray'] = function(member)
    redis.call('ZREM', key('scheduled'), member)
end

mends.done['not in order'] = function(id)
    redis.call('RPUSH', key('done_order'), id)
end

mends.done['in order twice'] = function(id)
    keep_first(key('done_order'), id)
end

mends.done['kept and in order'] = function(id)
    redis.call('ZREM', key('kept'), id)
end

mends.done['without row'] = function(id)
    redis.call('HDEL', key('done'), id)
    redis.call('ZREM', key('kept'), id)
    redis.call('LREM', key('done_order'), 0, id)
    redis.call('DEL', key('result:' .. id))
end

-- That it is in this order says that it is done, unless it stands where it would run.
mends.done['without record'] = function(id)
    redis.call('LREM', key('done_order'), 0, id)
    redis.call('ZREM', key('kept'), id)
    for _, fault in ipairs(audits.message(id, '', '')) do
        if fault == 'nowhere' then
            forget({id})
        end
    end
end

mends.kind['empty'] = function(kind)
    redis.call('HDEL', key('kinds'), kind)
end

mends.kind['unknown'] = function(kind)
    local id = redis.call('ZRANGE', key('kind:' .. kind), 0, 0)[1]
    local row, facts = fetch_row(id), {'', OTHER, '', ''}
    if row and kind ~= OTHER then
        local class, fingerprint, message = death_of(row)
        facts = {row[ROW.ACTOR], class, fingerprint, string.sub(message, 1, SHOWN)}
    end
    redis.call('HSET', key('kinds'), kind, cmsgpack.pack(facts))
end

mends.letter['stray'] = function(id, kind)
    redis.call('ZREM', key('kind:' .. kind), id)
end

mends.lane['empty'] = function(lane)
    redis.call('ZREM', key('lanes'), lane)
end

mends.lane['never looked at'] = function(lane)
    redis.call('ZADD', key('lanes'), string.sub(lane, -2) == '|p' and -1 or 0, lane)
    wake()
end

mends.waiter['stray'] = function(ref, lane)
    redis.call('ZREM', lane_key(lane), ref)
end

mends.word['stray'] = function(id, word)
    redis.call('SREM', key('word:' .. word), id)
end

mends.unique['stray'] = function(print)
    redis.call('HDEL', key('unique'), print)
end
