-- Take dead letters off, to let them live again or to forget them.

-- Take a dead letter out of every list of them.
local function unlist_dead(id, row)
    local kind = extra_of(row, 'kind') or OTHER
    redis.call('ZREM', key('dead'), id)
    redis.call('ZREM', key('dead_order'), id)
    redis.call('ZREM', key('kind:' .. kind), id)
    if redis.call('EXISTS', key('kind:' .. kind)) == 0 then
        redis.call('HDEL', key('kinds'), kind)
    end
    if redis.call('HINCRBY', key('dead_actors'), row[ROW.ACTOR], -1) <= 0 then
        redis.call('HDEL', key('dead_actors'), row[ROW.ACTOR])
    end
end

-- Whether a dead letter is the head of its group and blocks it.
local function blocks_its_group(id, row)
    return is_listed(row[ROW.REF]) and head_of(row[ROW.REF]) == id
end
