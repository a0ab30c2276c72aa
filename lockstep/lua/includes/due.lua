-- Let what fell due go on: scheduled messages join the tail of their groups, groups leave their backoff.

-- Answers how many came due; at most `limit` of each kind in one call.
local function promote_due(limit)
    local ready = {}
    local blocked = redis.call('ZRANGEBYSCORE', key('blocked'), '-inf', NOW, 'LIMIT', 0, limit)
    for _, ref in ipairs(blocked) do
        redis.call('ZREM', key('blocked'), ref)
        ready[#ready + 1] = ref
    end
    local scheduled = redis.call('ZRANGEBYSCORE', key('scheduled'), '-inf', NOW, 'WITHSCORES', 'LIMIT', 0, limit)
    for i = 1, #scheduled, 2 do
        local member = scheduled[i]
        local id = string.sub(member, 17)
        local packed = redis.call('HGET', key('messages'), id)
        local row = packed and unpack_row(packed)
        redis.call('ZREM', key('scheduled'), member)
        if row then
            row[ROW.SEQUENCE] = redis.call('HINCRBY', KEYS[1], 'seq', 1)
            row[ROW.MEMBER] = ''
            set_extra(row, 'due', tonumber(scheduled[i + 1])) -- its age counts from then
            write_row(id, row)
            if append(row[ROW.REF], id) then
                ready[#ready + 1] = row[ROW.REF]
            end
        elseif packed then -- a row that is no row names no group: a claim hands it out as it is
            ready[#ready + 1] = 'm:' .. id
        end
    end
    make_ready('RPUSH', ready)
    return #blocked + #scheduled / 2
end

-- Whether the head of a group that would be claimed keeps its place until its time (an option of a delayed message):
-- then its group is blocked until then.
local function waits_for_its_time(ref, row)
    local due = extra_of(row, 'due')
    if due and due > NOW then
        redis.call('ZADD', key('blocked'), due, ref)
        return true
    end
    return false
end

-- Milliseconds until the next thing falls due; -1 when nothing will by itself.
local function next_due()
    local nearest = math.huge
    for _, name in ipairs({'blocked', 'scheduled'}) do
        local first = redis.call('ZRANGE', key(name), 0, 0, 'WITHSCORES')
        if first[2] then
            nearest = math.min(nearest, tonumber(first[2]))
        end
    end
    if nearest == math.huge then
        return -1
    end
    return math.max(0, nearest - NOW)
end
