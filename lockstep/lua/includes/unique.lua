-- Messages of which there is only one at a time, by extra.unique: {print of what it is unique by, until}; until is
-- 'started', 'finished' or a number of milliseconds.
-- Until it has started or is finished, the hash `unique` says which message it is; it is released where that ends.
-- An entry that was not (Redis lost its tail) is overwritten by the next message. For a period, a key that expires says so.

local UNIQUE = key('unique')

-- Whether a message of that state keeps others out.
local function keeps_out(until_when, state)
    return state == 'scheduled' or state == 'waiting' or state == 'backoff'
        or until_when == 'finished' and state == 'running'
end

-- What is known of the message that keeps one out; nil when nothing does.
local function kept_out_by(unique)
    if type(unique[2]) == 'number' then
        local packed = redis.call('GET', key('unique:' .. unique[1]))
        local first = packed and cmsgpack.unpack(packed)
        local row = first and fetch_row(first[1])
        if row then
            return {2, row[ROW.SEQUENCE], state_of(first[1], row), first[1]}
        end
        return first and {2, first[2], first[3], first[1]} or nil
    end
    local id = redis.call('HGET', UNIQUE, unique[1])
    local row = id and fetch_row(id)
    local held = row and extra_of(row, 'unique')
    local state = held and held[1] == unique[1] and state_of(id, row)
    if state and keeps_out(held[2], state) then
        return {2, row[ROW.SEQUENCE], state, id}
    end
    return nil
end

-- Let a message that was just accepted keep others out.
local function keep_others_out(unique, id, answered)
    if type(unique[2]) == 'number' then
        local packed = cmsgpack.pack({id, answered[2], answered[3]})
        redis.call('SET', key('unique:' .. unique[1]), packed, 'PX', unique[2])
    else
        redis.call('HSET', UNIQUE, unique[1], id)
    end
end
