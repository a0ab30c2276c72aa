-- Retention: the oldest finished records go, `limit` of a kind in one call, that ended before `before` (ms) or are more
-- than `most`. Each answers how many went.

local function drop_older(name, before, most, limit)
    local surplus = math.max(redis.call('ZCARD', key(name)) - most, redis.call('ZCOUNT', key(name), '-inf', '(' .. before))
    if surplus <= 0 then
        return 0
    end
    local ids = redis.call('ZRANGE', key(name), 0, math.min(surplus, limit) - 1)
    redis.call('ZREM', key(name), unpack(ids))
    forget(ids)
    return #ids
end

-- Those done messages whose own time is over (option `retention`).
local function drop_kept(limit)
    local ids = redis.call('ZRANGEBYSCORE', key('kept'), '-inf', NOW, 'LIMIT', 0, limit)
    if #ids > 0 then
        redis.call('ZREM', key('kept'), unpack(ids))
        redis.call('HDEL', key('done'), unpack(ids))
        forget(ids)
    end
end

local function drop_done(before, most, limit)
    local surplus, ids = redis.call('LLEN', key('done_order')) - most, {}
    for i = 1, limit do
        local oldest = redis.call('LINDEX', key('done_order'), 0)
        local record = oldest and redis.call('HGET', key('done'), oldest)
        if not oldest
            or record and i > surplus and select(2, cmsgpack.unpack(string.sub(record, TOKEN_LENGTH + 1))) > before then
            break
        end
        redis.call('LPOP', key('done_order'))
        if record then -- else only damage from outside left its id here: whatever has it now is not done
            ids[#ids + 1] = oldest
        end
    end
    if #ids > 0 then
        redis.call('HDEL', key('done'), unpack(ids))
        forget(ids)
    end
    return #ids
end
