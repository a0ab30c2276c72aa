-- Forget dead letters, and let go on what they blocked.

-- `ids` are dead letters, at most 1,000; `rows` theirs, false for one that Redis lost.
local function discard(ids, rows)
    for i, id in ipairs(ids) do
        local row = rows[i]
        if row then
            unlist_dead(id, row)
            if blocks_its_group(id, row) then
                pop_head(row[ROW.REF])
                reseat(row[ROW.REF])
            end
        else
            redis.call('ZREM', key('dead'), id)
            redis.call('ZREM', key('dead_order'), id)
        end
        redis.call('DEL', key('result:' .. id))
    end
    if #ids > 0 then
        forget(ids)
    end
end

-- Forget the dead letters that died before `before` (ms), `limit` of them at most.
local function discard_older(before, limit)
    local ids, rows = redis.call('ZRANGEBYSCORE', key('dead'), '-inf', '(' .. before, 'LIMIT', 0, limit), {}
    for i, id in ipairs(ids) do
        rows[i] = fetch_row(id) or false
    end
    discard(ids, rows)
end
