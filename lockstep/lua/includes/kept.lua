-- Done messages with a retention of their own: neither the age nor the number of others decides about them.

-- Keep the record of a done message for so long (ms); 0: not at all.
local function keep_for(id, record, retention)
    if retention > 0 then
        redis.call('HSET', key('done'), id, record)
        redis.call('ZADD', key('kept'), NOW + retention, id)
    else
        forget({id})
    end
end
