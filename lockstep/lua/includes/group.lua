-- A group's messages. A ref without a list ('m:' .. id) is a message that is a group of its own.

local function is_listed(ref)
    return string.sub(ref, 1, 2) == 'g:'
end

local function list_key(ref)
    return PREFIX .. 'group:' .. ref
end

-- The id of a group's first unfinished message; false when there is none.
local function head_of(ref)
    if is_listed(ref) then
        return redis.call('LINDEX', list_key(ref), 0)
    end
    return string.sub(ref, 3)
end

-- Take the head off its group; answers whether messages remain behind it.
local function pop_head(ref)
    if not is_listed(ref) then
        return false
    end
    redis.call('LPOP', list_key(ref))
    return redis.call('EXISTS', list_key(ref)) == 1
end

-- Wake one idle consumer. One waiting token is enough: whoever takes it and leaves groups ready passes it on.
local function wake()
    if redis.call('LLEN', key('wake')) == 0 then
        redis.call('RPUSH', key('wake'), '1')
    end
end

-- Wake all idle consumers: each has to look for itself.
local function wake_all()
    for _ = redis.call('LLEN', key('wake')) + 1, math.min(redis.call('ZCARD', key('claimers')), 100) do
        redis.call('RPUSH', key('wake'), '1')
    end
end

-- Append a message to its group; answers true when that made the group ready, which the caller must then do.
local function append(ref, id)
    return not is_listed(ref) or redis.call('RPUSH', list_key(ref), id) == 1
end
