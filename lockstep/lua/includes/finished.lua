-- The end of what is known about messages: their rows go, and whatever else was kept under their ids.

-- `ids` are finished messages, at most 7,000 of them.
local function forget(ids)
    redis.call('HDEL', key('messages'), unpack(ids))
end

-- Drop the oldest finished records of a kind, `limit` of them at most, that ended before `before` (ms).
local function drop_older(name, before, limit)
    local ids = redis.call('ZRANGEBYSCORE', key(name), '-inf', '(' .. before, 'LIMIT', 0, limit)
    if #ids > 0 then
        redis.call('ZREM', key(name), unpack(ids))
        forget(ids)
    end
end
